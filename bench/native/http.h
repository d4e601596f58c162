/* Reads HTTP/1.1 messages as they arrive: heads up to 8 KiB, bodies by length or in chunks. Enough for a benchmark
 * on loopback whose other side is known; no server for strangers. */
#ifndef BENCH_HTTP_H
#define BENCH_HTTP_H

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_HEAD = 8192, MAX_LINE = 64 };

enum state { HEAD, BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, DONE, FAILED };

/* Takes a piece of the body; `context` is the caller's own. */
typedef void (*take_piece)(void *context, const char *piece, size_t size);

struct reader {
    enum state state;
    size_t head_size;
    char head[MAX_HEAD + 1];
    uint64_t left; /* bytes of the body, or of the chunk, still to come */
    size_t line_size;
    char line[MAX_LINE + 1];
};

static inline void reader_reset(struct reader *reader) {
    reader->state = HEAD;
    reader->head_size = 0;
    reader->left = 0;
    reader->line_size = 0;
}

/* The value of a header, up to its line's end; NULL when there is none. `name` ends with a colon. */
static const char *header(const struct reader *reader, const char *name) {
    size_t size = strlen(name);
    for (const char *line = strstr(reader->head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, size) == 0) {
            line += size;
            while (*line == ' ') line++;
            return line;
        }
    }
    return NULL;
}

static int header_is(const struct reader *reader, const char *name, const char *value) {
    const char *found = header(reader, name);
    return found && strncasecmp(found, value, strlen(value)) == 0;
}

static void head_is_whole(struct reader *reader) {
    reader->head[reader->head_size] = 0;
    const char *length = header(reader, "content-length:");
    if (header_is(reader, "transfer-encoding:", "chunked")) {
        reader->state = CHUNK_SIZE;
    } else {
        reader->left = length ? strtoull(length, NULL, 10) : 0;
        reader->state = reader->left ? BODY : DONE;
    }
}

static size_t feed_head(struct reader *reader, const char *data, size_t size) {
    size_t before = reader->head_size;
    size_t fits = MAX_HEAD - before < size ? MAX_HEAD - before : size;
    memcpy(reader->head + before, data, fits);
    size_t from = before > 3 ? before - 3 : 0;
    const char *end = memmem(reader->head + from, before + fits - from, "\r\n\r\n", 4);
    if (!end) {
        reader->head_size += fits;
        if (fits < size) reader->state = FAILED;
        return size;
    }
    reader->head_size = (size_t)(end - reader->head) + 4;
    head_is_whole(reader);
    return reader->head_size - before;
}

/* One line of the chunked coding; returns 1 once its end was seen. */
static int feed_line(struct reader *reader, char byte) {
    if (byte == '\n') {
        reader->line[reader->line_size] = 0;
        reader->line_size = 0;
        return 1;
    }
    if (byte != '\r' && reader->line_size < MAX_LINE) reader->line[reader->line_size++] = byte;
    return 0;
}

static void line_is_whole(struct reader *reader) {
    switch (reader->state) {
    case CHUNK_SIZE:
        if (!isxdigit((unsigned char)reader->line[0])) {
            reader->state = FAILED;
            return;
        }
        reader->left = strtoull(reader->line, NULL, 16);
        reader->state = reader->left ? CHUNK_DATA : TRAILER;
        return;
    case CHUNK_END:
        reader->state = reader->line[0] ? FAILED : CHUNK_SIZE;
        return;
    default:
        if (!reader->line[0]) reader->state = DONE;
    }
}

static size_t feed_body(struct reader *reader, const char *data, size_t size, take_piece take, void *context) {
    size_t fits = reader->left < size ? (size_t)reader->left : size;
    take(context, data, fits);
    reader->left -= fits;
    if (!reader->left) reader->state = reader->state == BODY ? DONE : CHUNK_END;
    return fits;
}

/* Reads until the message is whole or the data is used up; returns how many bytes were used. */
static size_t feed(struct reader *reader, const char *data, size_t size, take_piece take, void *context) {
    size_t used = 0;
    while (used < size && reader->state != DONE && reader->state != FAILED) {
        if (reader->state == HEAD) {
            used += feed_head(reader, data + used, size - used);
        } else if (reader->state == BODY || reader->state == CHUNK_DATA) {
            used += feed_body(reader, data + used, size - used, take, context);
        } else if (feed_line(reader, data[used++])) {
            reader->line[MAX_LINE] = 0;
            line_is_whole(reader);
        }
    }
    return used;
}

#endif
