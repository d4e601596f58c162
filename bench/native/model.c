/* The model container of the benchmark: GET /ping is 200, POST /invocations is answered as the environment says.
 * It stands behind every system alike and must cost next to nothing; its CPU is not counted.
 *
 *   SAGEMAKER_BIND_TO_PORT  where to listen on 127.0.0.1 (8080)
 *   ANSWER   echo    the request's body (and MARK at its end, to tell the stages of a chain apart)
 *            count   {"bytes": size, "sum": sum of all bytes}: a small answer that proves a large body arrived
 *            stream  CHUNKS chunks of CHUNK_BYTES bytes, one each millisecond
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "http.h"

enum { MAX_CONNECTIONS = 16384, HEAD_ROOM = 256, READ_SIZE = 256 * 1024, TICK_NS = 1000000 };
enum answer { ECHO, COUNT, STREAM };

struct connection {
    int fd;
    struct reader reader;
    uint64_t bytes, sum;
    char *out; /* HEAD_ROOM bytes for the head, then the body */
    size_t out_size, out_room, out_from;
    int chunks_left;
    int closes;
};

static enum answer answer = ECHO;
static const char *mark = "";
static int chunks = 64, chunk_bytes = 32;
static int epoll_fd, streaming;
static struct connection *connections[MAX_CONNECTIONS];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void append(struct connection *c, const char *data, size_t size) {
    if (c->out_size + size > c->out_room) {
        c->out_room = (c->out_size + size) * 2;
        c->out = realloc(c->out, c->out_room);
        if (!c->out) fail("realloc");
    }
    memcpy(c->out + c->out_size, data, size);
    c->out_size += size;
}

static uint64_t sum_of(const char *data, size_t size) {
    uint64_t sum = 0;
    size_t at = 0;
#ifdef __SSE2__
    __m128i sums = _mm_setzero_si128();
    for (; at + 16 <= size; at += 16)
        sums = _mm_add_epi64(sums, _mm_sad_epu8(_mm_loadu_si128((const __m128i *)(data + at)), _mm_setzero_si128()));
    uint64_t halves[2];
    _mm_storeu_si128((__m128i *)halves, sums);
    sum = halves[0] + halves[1];
#endif
    for (; at < size; at++) sum += (unsigned char)data[at];
    return sum;
}

static void take(void *context, const char *piece, size_t size) {
    struct connection *c = context;
    c->bytes += size;
    if (answer == ECHO) append(c, piece, size);
    if (answer == COUNT) c->sum += sum_of(piece, size);
}

static void begin(struct connection *c) {
    reader_reset(&c->reader);
    c->bytes = c->sum = 0;
    c->out_size = c->out_from = 0;
    static const char room[HEAD_ROOM];
    append(c, room, HEAD_ROOM);
}

static void end(struct connection *c) {
    if (c->chunks_left) streaming--;
    connections[c->fd] = NULL;
    close(c->fd);
    free(c->out);
    free(c);
}

static void watch(struct connection *c, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = c->fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event)) fail("epoll_ctl");
}

/* Writes what is there; returns 0 when the connection is gone. */
static int flush(struct connection *c) {
    while (c->out_from < c->out_size) {
        ssize_t wrote = send(c->fd, c->out + c->out_from, c->out_size - c->out_from, MSG_NOSIGNAL);
        if (wrote < 0 && errno == EAGAIN) {
            watch(c, EPOLLOUT);
            return 1;
        }
        if (wrote < 0) return end(c), 0;
        c->out_from += (size_t)wrote;
    }
    if (c->chunks_left) {
        c->out_size = c->out_from = 0;
        return 1;
    }
    if (c->closes) return end(c), 0;
    begin(c);
    return 1;
}

/* Puts the head right before the body, which begins at HEAD_ROOM. */
static void put_head(struct connection *c, const char *head, int size) {
    c->out_from = (size_t)(HEAD_ROOM - size);
    memcpy(c->out + c->out_from, head, (size_t)size);
}

static int respond(struct connection *c) {
    char text[HEAD_ROOM];
    const struct reader *request = &c->reader;
    const char *line_end = strstr(request->head, "\r\n");
    c->closes = header_is(request, "connection:", "close") || strncmp(line_end - 8, "HTTP/1.0", 8) == 0;
    int is_call = strncmp(request->head, "POST /invocations ", 18) == 0;
    if (!is_call && strncmp(request->head, "GET /ping ", 10) != 0) {
        put_head(c, text, sprintf(text, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
        c->out_size = HEAD_ROOM;
        return flush(c);
    }
    if (is_call && answer == STREAM) {
        put_head(c, text, sprintf(text, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"));
        c->out_size = HEAD_ROOM;
        c->chunks_left = chunks;
        streaming++;
        return flush(c);
    }
    if (is_call && answer == COUNT)
        append(c, text, (size_t)sprintf(text, "{\"bytes\": %llu, \"sum\": %llu}", (unsigned long long)c->bytes,
                                        (unsigned long long)c->sum));
    if (is_call && answer == ECHO) append(c, mark, strlen(mark));
    put_head(c, text, sprintf(text, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                              c->out_size - HEAD_ROOM));
    return flush(c);
}

static void send_chunk(struct connection *c) {
    char size[32], number[16];
    if (c->out_from < c->out_size) return; /* a slow reader gets the next one later */
    append(c, size, (size_t)sprintf(size, "%x\r\n", (unsigned)chunk_bytes));
    int digits = sprintf(number, "%d ", chunks - c->chunks_left);
    for (int at = 0; at < chunk_bytes; at++) append(c, at < digits ? number + at : ".", 1);
    c->chunks_left--;
    append(c, "\r\n0\r\n\r\n", c->chunks_left ? 2 : 7);
    if (!c->chunks_left) streaming--;
    flush(c);
}

static void on_input(struct connection *c) {
    static char data[READ_SIZE];
    ssize_t size = recv(c->fd, data, sizeof data, 0);
    if (size <= 0) {
        if (size < 0 && errno == EAGAIN) return;
        end(c);
        return;
    }
    /* No pipelining: a proxy sends the next request after the answer. */
    feed(&c->reader, data, (size_t)size, take, c);
    if (c->reader.state == FAILED) {
        end(c);
    } else if (c->reader.state == DONE && !c->chunks_left && c->out_from == 0) {
        respond(c);
    }
}

static void on_output(struct connection *c) {
    watch(c, EPOLLIN);
    flush(c);
}

static void on_client(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    if (fd < 0) return;
    if (fd >= MAX_CONNECTIONS) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct connection *c = calloc(1, sizeof *c);
    if (!c) fail("calloc");
    c->fd = fd;
    connections[fd] = c;
    begin(c);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static void tick(void) {
    static uint64_t last;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (ns - last < TICK_NS) return;
    last = ns;
    for (int fd = 0, seen = 0, all = streaming; fd < MAX_CONNECTIONS && seen < all; fd++) {
        if (!connections[fd] || !connections[fd]->chunks_left) continue;
        seen++;
        send_chunk(connections[fd]);
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1024)) fail("listen");
    return fd;
}

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value ? value : otherwise;
}

int main(void) {
    const char *kind = setting("ANSWER", "echo");
    answer = strcmp(kind, "count") == 0 ? COUNT : strcmp(kind, "stream") == 0 ? STREAM : ECHO;
    mark = setting("MARK", "");
    chunks = atoi(setting("CHUNKS", "64"));
    chunk_bytes = atoi(setting("CHUNK_BYTES", "32"));
    signal(SIGPIPE, SIG_IGN);
    int listener = listen_on(atoi(setting("SAGEMAKER_BIND_TO_PORT", "8080")));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event)) fail("epoll_ctl");
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, 256, streaming ? 1 : -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener) {
                on_client(listener);
                continue;
            }
            struct connection *c = connections[events[i].data.fd];
            if (!c) continue;
            if (events[i].events & EPOLLOUT)
                on_output(c);
            else
                on_input(c);
        }
        if (streaming) tick();
    }
}
