/* MLLP sink: takes every message and answers AA, at once or after a fixed delay, one epoll loop.
 *
 *   sink --port P [--delay-ms 0] [--record FILE]
 *
 * Port 0 chooses a free one. The first line on standard output is {"port": P}. SIGUSR1 prints the
 * counts so far as one JSON line, SIGTERM prints them and ends. --record writes every MSH-10 in
 * order of arrival, one a line. The rate is that between the first and the last message.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { END = 0x1c, MAX_ID = 199, MAX_CONNECTIONS = 4096 };

struct connection {
    int fd, wants_write;
    unsigned life; /* how often this place was used: a late answer never meets a newer connection */
    char *in; size_t in_len, in_cap;
    char *out; size_t out_len, out_sent, out_cap;
};

struct due { double at; int place; unsigned life; unsigned char id_len; char id[MAX_ID]; };

static struct connection all[MAX_CONNECTIONS];
static struct due *queue; static size_t queue_head, queue_used, queue_cap;
static int epoll_fd, timer_fd, opened;
static double delay, first, last;
static uint64_t messages, bytes, not_hl7;
static FILE *record;
static char stamp[32]; static time_t stamp_second;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what) { fprintf(stderr, "sink: %s: %s\n", what, strerror(errno)); exit(1); }

static void *grow(void *p, size_t size) {
    void *q = realloc(p, size);
    if (!q) die("memory");
    return q;
}

static void flush(struct connection *c) {
    while (c->out_sent < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0) break;
        c->out_sent += (size_t)n;
    }
    if (c->out_sent == c->out_len) c->out_sent = c->out_len = 0;
    int wants = c->out_len > 0;
    if (wants != c->wants_write) {
        struct epoll_event e = {.events = EPOLLIN | (wants ? EPOLLOUT : 0), .data.fd = c->fd};
        e.data.u64 = (uint64_t)(c - all);
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
        c->wants_write = wants;
    }
}

static void put_answer(struct connection *c, const char *id, size_t id_len) {
    time_t second = time(NULL);
    if (second != stamp_second) {
        struct tm t;
        gmtime_r(&second, &t);
        strftime(stamp, sizeof stamp, "%Y%m%d%H%M%S", &t);
        stamp_second = second;
    }
    if (c->out_len + id_len + 200 > c->out_cap) c->out = grow(c->out, c->out_cap = (c->out_cap + id_len + 200) * 2);
    char *at = c->out + c->out_len;
    int n = sprintf(at, "\x0bMSH|^~\\&|SINK|BENCH|||%s||ACK|S%llu|P|2.5.1\rMSA|AA|", stamp, (unsigned long long)messages);
    memcpy(at + n, id, id_len);
    memcpy(at + n + id_len, "\r\x1c\r", 3);
    c->out_len += (size_t)n + id_len + 3;
}

/* MSH-10, as it stands. */
static const char *control_id(const char *text, size_t len, size_t *id_len) {
    *id_len = 0;
    if (len < 8 || memcmp(text, "MSH", 3)) return NULL;
    const char *at = text + 3, *stop = memchr(text, '\r', len);
    char bar = text[3];
    if (!stop) stop = text + len;
    for (int field = 2; field < 11; field++) {
        at = at < stop ? memchr(at + (field > 2), bar, (size_t)(stop - at) - (field > 2)) : NULL;
        if (!at) return NULL;
    }
    at++;
    const char *end = memchr(at, bar, (size_t)(stop - at));
    *id_len = (size_t)((end ? end : stop) - at);
    return at;
}

static void set_timer(void) {
    if (!queue_used) return;
    double wait = queue[queue_head].at - now();
    if (wait < 1e-6) wait = 1e-6;
    struct itimerspec t = {.it_value = {(time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9)}};
    if (!t.it_value.tv_sec && !t.it_value.tv_nsec) t.it_value.tv_nsec = 1;
    timerfd_settime(timer_fd, 0, &t, NULL);
}

/* The delay is the same for all, so the order of arrival is the order of answering. */
static void answer_later(struct connection *c, const char *id, size_t id_len, double t) {
    if (queue_used == queue_cap) {
        size_t bigger = queue_cap ? queue_cap * 2 : 1024;
        struct due *q = grow(NULL, bigger * sizeof *q);
        for (size_t i = 0; i < queue_used; i++) q[i] = queue[(queue_head + i) % queue_cap];
        free(queue);
        queue = q; queue_cap = bigger; queue_head = 0;
    }
    struct due *d = &queue[(queue_head + queue_used++) % queue_cap];
    d->at = t + delay;
    d->place = (int)(c - all);
    d->life = c->life;
    d->id_len = (unsigned char)(id_len > MAX_ID ? MAX_ID : id_len);
    memcpy(d->id, id, d->id_len);
    if (queue_used == 1) set_timer();
}

static void answer_due(void) {
    uint64_t ticks;
    (void)!read(timer_fd, &ticks, sizeof ticks);
    double t = now();
    while (queue_used && queue[queue_head].at <= t) {
        struct due *d = &queue[queue_head];
        struct connection *c = &all[d->place];
        if (c->fd >= 0 && c->life == d->life) { put_answer(c, d->id, d->id_len); flush(c); }
        queue_head = (queue_head + 1) % queue_cap;
        queue_used--;
    }
    set_timer();
}

static void message(struct connection *c, const char *text, size_t len, double t) {
    size_t id_len;
    const char *id = control_id(text, len, &id_len);
    messages++;
    bytes += len;
    if (first == 0) first = t;
    last = t;
    if (!id) { not_hl7++; id = ""; id_len = 0; }
    if (record) { fwrite(id, 1, id_len, record); fputc('\n', record); }
    if (delay > 0) answer_later(c, id, id_len, t); else put_answer(c, id, id_len);
}

static void receive(struct connection *c) {
    if (c->in_cap - c->in_len < 16384) c->in = grow(c->in, c->in_cap = c->in_cap ? c->in_cap * 2 : 65536);
    ssize_t n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        close(c->fd);
        c->fd = -1;
        c->in_len = c->out_len = c->out_sent = 0;
        return;
    }
    c->in_len += (size_t)n;
    double t = now();
    size_t at = 0;
    for (;;) {
        char *end = memchr(c->in + at, END, c->in_len - at);
        if (!end) break;
        while (at < c->in_len && (c->in[at] == 0x0b || c->in[at] == '\r')) at++;
        message(c, c->in + at, (size_t)(end - c->in) - at, t);
        at = (size_t)(end - c->in) + 1;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
    flush(c);
}

static void report(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
               + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    if (record) fflush(record);
    printf("{\"messages\": %llu, \"bytes\": %llu, \"not_hl7\": %llu, \"connections\": %d, \"first\": %.6f, "
           "\"last\": %.6f, \"rate\": %.1f, \"cpu_s\": %.3f}\n",
           (unsigned long long)messages, (unsigned long long)bytes, (unsigned long long)not_hl7, opened, first, last,
           last > first ? (double)(messages - 1) / (last - first) : 0.0, cpu);
    fflush(stdout);
}

static void take_connection(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), one = 1, place = 0;
    if (fd < 0) return;
    while (place < MAX_CONNECTIONS && all[place].fd >= 0) place++;
    if (place == MAX_CONNECTIONS) { close(fd); return; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct connection *c = &all[place];
    c->fd = fd;
    c->wants_write = 0;
    c->life++;
    opened++;
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = (uint64_t)place};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

int main(int argc, char **argv) {
    int port = 0, one = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--port")) port = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--delay-ms")) delay = atof(argv[i + 1]) / 1000;
        else if (!strcmp(argv[i], "--record")) { if (!(record = fopen(argv[i + 1], "wb"))) die(argv[i + 1]); }
        else { fprintf(stderr, "sink: %s is not known\n", argv[i]); return 2; }
    }
    for (int i = 0; i < MAX_CONNECTIONS; i++) all[i].fd = -1;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int signal_fd = signalfd(-1, &signals, SFD_NONBLOCK), listener = socket(AF_INET, SOCK_STREAM, 0);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 1024)) die("cannot listen");
    getsockname(listener, (struct sockaddr *)&a, &size);
    printf("{\"port\": %d}\n", ntohs(a.sin_port));
    fflush(stdout);
    epoll_fd = epoll_create1(0);
    int special[3] = {listener, signal_fd, timer_fd};
    for (int i = 0; i < 3; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.u64 = MAX_CONNECTIONS + (uint64_t)i};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, special[i], &e);
    }
    struct epoll_event events[256];
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < n; i++) {
            uint64_t place = events[i].data.u64;
            if (place == MAX_CONNECTIONS) take_connection(listener);
            else if (place == MAX_CONNECTIONS + 2) answer_due();
            else if (place == MAX_CONNECTIONS + 1) {
                struct signalfd_siginfo info;
                while (read(signal_fd, &info, sizeof info) == sizeof info) {
                    report();
                    if (info.ssi_signo != SIGUSR1) return 0;
                }
            } else if (all[place].fd >= 0) {
                if (events[i].events & EPOLLOUT) flush(&all[place]);
                if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(&all[place]);
            }
        }
    }
}
