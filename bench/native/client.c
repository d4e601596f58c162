/* The client of the benchmark: keeps calling over keep-alive connections, checks every answer, records latencies.
 *
 *   client PORT CONNECTIONS WARM_UP SECONDS MAX_CALLS REQUEST EXPECTED plain|framed
 *
 * REQUEST is a file with a whole HTTP request, EXPECTED one with the body that must come back (framed: as the payloads
 * of AWS event-stream messages). Prints `start` when the warm-up is over and, at the end, one line of JSON. The
 * histogram has 128 buckets for each power of two nanoseconds: 1 % fine. Each connection has one call at a time.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http.h"

enum { READ_SIZE = 256 * 1024, SUB = 128, SUB_BITS = 7, BUCKETS = 40 * SUB, STALL_MS = 20000, PRELUDE = 12, MANY_ERRORS = 100 };

struct text {
    char *data;
    size_t size;
};

struct connection {
    int fd;
    int writing;         /* epoll watches for room to write */
    size_t sent;         /* bytes of the request */
    uint64_t started;    /* ns */
    int answered;        /* a byte of the answer has come */
    size_t matched;      /* bytes of the expected body seen */
    int wrong;
    unsigned char prelude[PRELUDE];
    size_t frame_at;     /* bytes of the event-stream message seen */
    size_t payload_from, payload_to, frame_end;
    struct reader reader;
};

static struct text request, expected;
static struct sockaddr_in server;
static int framed, epoll_fd;
static uint64_t calls, errors, reconnects, histogram[BUCKETS];
static char first_error[160];

static void fail(const char *what) {
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct text load(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    fseek(file, 0, SEEK_END);
    struct text text = {.size = (size_t)ftell(file)};
    rewind(file);
    text.data = malloc(text.size + 1);
    if (!text.data || fread(text.data, 1, text.size, file) != text.size) fail(path);
    fclose(file);
    return text;
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void record(uint64_t ns) {
    if (ns < SUB) {
        histogram[ns]++;
        return;
    }
    int shift = 63 - __builtin_clzll(ns) - SUB_BITS;
    uint64_t index = (uint64_t)(shift + 1) * SUB + (ns >> shift) - SUB;
    histogram[index < BUCKETS ? index : BUCKETS - 1]++;
}

static void match(struct connection *c, const char *data, size_t size) {
    if (size > expected.size - c->matched || memcmp(expected.data + c->matched, data, size) != 0)
        c->wrong = 1;
    else
        c->matched += size;
}

static uint32_t big_endian(const unsigned char *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* An event-stream message: total length, length of headers, checksum, headers, payload, checksum. */
static void unframe(struct connection *c, const char *data, size_t size) {
    for (size_t at = 0; at < size && !c->wrong;) {
        if (c->frame_at < PRELUDE) {
            c->prelude[c->frame_at++] = (unsigned char)data[at++];
            if (c->frame_at < PRELUDE) continue;
            c->frame_end = big_endian(c->prelude);
            c->payload_from = PRELUDE + big_endian(c->prelude + 4);
            c->payload_to = c->frame_end - 4;
            c->wrong = c->payload_to < c->payload_from || c->payload_from > c->frame_end;
            continue;
        }
        int inside = c->frame_at >= c->payload_from && c->frame_at < c->payload_to;
        size_t until = c->frame_at < c->payload_from ? c->payload_from : inside ? c->payload_to : c->frame_end;
        size_t part = until - c->frame_at < size - at ? until - c->frame_at : size - at;
        if (inside) match(c, data + at, part);
        at += part;
        c->frame_at += part;
        if (c->frame_at == c->frame_end) c->frame_at = 0;
    }
}

static void take(void *context, const char *piece, size_t size) {
    struct connection *c = context;
    if (framed)
        unframe(c, piece, size);
    else
        match(c, piece, size);
}

static void watch(struct connection *c, int operation, int writing) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    c->writing = writing;
    if (epoll_ctl(epoll_fd, operation, c->fd, &event)) fail("epoll_ctl");
}

static void dial(struct connection *c) {
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server)) fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch(c, EPOLL_CTL_ADD, 0);
}

static void redial(struct connection *c);

static void push(struct connection *c) {
    while (c->sent < request.size) {
        ssize_t wrote = send(c->fd, request.data + c->sent, request.size - c->sent, MSG_NOSIGNAL);
        if (wrote < 0 && errno == EAGAIN) {
            if (!c->writing) watch(c, EPOLL_CTL_MOD, 1);
            return;
        }
        if (wrote < 0) {
            redial(c);
            return;
        }
        c->sent += (size_t)wrote;
    }
    if (c->writing) watch(c, EPOLL_CTL_MOD, 0);
}

static void call(struct connection *c, uint64_t at) {
    reader_reset(&c->reader);
    c->sent = c->matched = c->frame_at = 0;
    c->wrong = c->answered = 0;
    c->started = at;
    push(c);
}

static void note_error(const char *what, const struct connection *c) {
    if (!errors++) {
        snprintf(first_error, sizeof first_error, "%s: %.100s", what, c->reader.head_size ? c->reader.head : "no answer");
        for (char *at = first_error; *at; at++)
            if (*at < ' ' || *at == '"' || *at == '\\') *at = ' ';
    }
}

/* A server may close an idle connection; a call without any byte of an answer is then sent again. */
static void redial(struct connection *c) {
    close(c->fd);
    if (c->answered)
        note_error("closed in the middle of an answer", c);
    else if (++reconnects > 1000000)
        fail("the server closes every connection");
    dial(c);
    call(c, now());
}

static int status_of(const struct reader *reader) { return atoi(reader->head + strlen("HTTP/1.1 ")); }

static void answered(struct connection *c) {
    uint64_t at = now();
    if (status_of(&c->reader) != 200)
        note_error("status", c);
    else if (c->wrong || c->matched != expected.size || c->frame_at)
        note_error("not the expected body", c);
    record(at - c->started);
    calls++;
    if (header_is(&c->reader, "connection:", "close")) {
        close(c->fd);
        reconnects++;
        dial(c);
    }
    call(c, at);
}

static void on_input(struct connection *c) {
    static char data[READ_SIZE];
    ssize_t size = recv(c->fd, data, sizeof data, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
        redial(c);
        return;
    }
    c->answered = 1;
    size_t used = feed(&c->reader, data, (size_t)size, take, c);
    if (c->reader.state == FAILED || used < (size_t)size) {
        note_error("not HTTP", c);
        c->answered = 0;
        redial(c);
    } else if (c->reader.state == DONE) {
        answered(c);
    }
}

/* Returns when the time or the number of calls is reached, or so much is wrong that the rest does not matter. */
static void run(uint64_t until, uint64_t most) {
    struct epoll_event events[256];
    while (now() < until && calls < most && errors < MANY_ERRORS) {
        int ready = epoll_wait(epoll_fd, events, 256, STALL_MS);
        if (ready == 0) fail("no answer for 20 s");
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            int fd = c->fd;
            if (events[i].events & EPOLLOUT) push(c);
            if (fd == c->fd && events[i].events & ~(uint32_t)EPOLLOUT) on_input(c);
        }
    }
}

static void report(double seconds) {
    printf("{\"calls\": %llu, \"errors\": %llu, \"reconnects\": %llu, \"seconds\": %.6f, \"first_error\": \"%s\", ",
           (unsigned long long)calls, (unsigned long long)errors, (unsigned long long)reconnects, seconds, first_error);
    printf("\"histogram\": [");
    for (int i = 0, first = 1; i < BUCKETS; i++) {
        if (!histogram[i]) continue;
        printf("%s[%d, %llu]", first ? "" : ", ", i, (unsigned long long)histogram[i]);
        first = 0;
    }
    printf("]}\n");
}

int main(int count, char **arguments) {
    if (count != 9) {
        fprintf(stderr, "client PORT CONNECTIONS WARM_UP SECONDS MAX_CALLS REQUEST EXPECTED plain|framed\n");
        return 2;
    }
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)atoi(arguments[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int size = atoi(arguments[2]);
    uint64_t most = strtoull(arguments[5], NULL, 10);
    request = load(arguments[6]);
    expected = load(arguments[7]);
    framed = strcmp(arguments[8], "framed") == 0;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct connection *connections = calloc((size_t)size, sizeof *connections);
    if (!connections) fail("calloc");
    for (int i = 0; i < size; i++) {
        dial(&connections[i]);
        call(&connections[i], now());
    }
    run(now() + (uint64_t)(atof(arguments[3]) * 1e9), UINT64_MAX);
    calls = 0; /* errors of the warm-up count */
    memset(histogram, 0, sizeof histogram);
    printf("start\n");
    fflush(stdout);
    uint64_t began = now();
    run(began + (uint64_t)(atof(arguments[4]) * 1e9), most ? most : UINT64_MAX);
    report((double)(now() - began) / 1e9);
    return 0;
}
