/* MLLP load generator: N connections, W messages outstanding on each, one epoll loop.
 *
 *   load --port P --template FILE [--host 127.0.0.1] [--connections 1] [--window 1]
 *        [--count N | --seconds S] [--limit 120] [--warmup 0] [--patients 100000]
 *        [--prefix L] [--accepted FILE]
 *
 * The template is one message; a line end of any kind ends a segment, @ID@ is replaced by the
 * control id and @PATIENT@ by a patient number. Every acknowledgment is matched by MSA-2. The
 * result is one JSON object: counts, codes, rate over everything after the warm-up, and
 * percentiles of the time from handing a message over to seeing its acknowledgment.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { START = 0x0b, END = 0x1c, DIGITS = 9, MAX_PIECES = 8 };

struct waiting { uint64_t number; double since; };

struct connection {
    int fd;
    char *out; size_t out_len, out_sent, out_cap;
    char *in; size_t in_len, in_cap;
    struct waiting *ring; unsigned head, used;
    int wants_write;
};

struct piece { const char *text; size_t len; char variable; /* 'i' id, 'p' patient, 0 text */ };

static struct piece pieces[MAX_PIECES * 2 + 1];
static int piece_count;
static const char *prefix = "L";
static size_t prefix_len;
static uint64_t patients = 100000, limit_count = 0, sent, acked, warmup, unmatched, lost;
static uint64_t code_count[8]; static char code_name[8][4]; static int codes;
static double started, stop_at, first_ack, last_ack;
static double *latency; static size_t latency_len, latency_cap;
static unsigned window = 1;
static int connections = 1, live, epoll_fd;
static FILE *accepted;
static uint64_t bytes_sent;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what) { fprintf(stderr, "load: %s: %s\n", what, strerror(errno)); exit(1); }

static void *grow(void *p, size_t size) {
    void *q = realloc(p, size);
    if (!q) die("memory");
    return q;
}

/* Cut the template into text and variables; line ends become the segment terminator. */
static void read_template(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) die(path);
    if (fseek(f, 0, SEEK_END)) die(path);
    size_t cap = (size_t)ftell(f) + 2, len = 0;
    rewind(f);
    char *raw = grow(NULL, cap), *text = grow(NULL, cap);
    size_t got = fread(raw, 1, cap, f);
    fclose(f);
    for (size_t i = 0; i < got; i++) {
        if (raw[i] == '\r' && i + 1 < got && raw[i + 1] == '\n') continue;
        text[len++] = raw[i] == '\n' ? '\r' : raw[i];
    }
    if (len && text[len - 1] != '\r') text[len++] = '\r';
    free(raw);
    const char *at = text, *stop = text + len;
    while (at < stop) {
        const char *id = memmem(at, (size_t)(stop - at), "@ID@", 4);
        const char *patient = memmem(at, (size_t)(stop - at), "@PATIENT@", 9);
        const char *next = id && (!patient || id < patient) ? id : patient;
        if (piece_count >= MAX_PIECES * 2 - 1) { fprintf(stderr, "load: too many variables\n"); exit(1); }
        pieces[piece_count++] = (struct piece){at, (size_t)((next ? next : stop) - at), 0};
        if (!next) break;
        pieces[piece_count++] = (struct piece){NULL, 0, next == id ? 'i' : 'p'};
        at = next + (next == id ? 4 : 9);
    }
}

static void put(struct connection *c, const void *data, size_t len) {
    if (c->out_len + len > c->out_cap) {
        c->out_cap = (c->out_len + len) * 2;
        c->out = grow(c->out, c->out_cap);
    }
    memcpy(c->out + c->out_len, data, len);
    c->out_len += len;
}

static int may_send(double t) {
    if (limit_count) return sent < limit_count && t < stop_at;
    return t < stop_at;
}

static void put_message(struct connection *c, double t) {
    char id[64], patient[16];
    uint64_t number = sent++;
    int id_len = snprintf(id, sizeof id, "%s%0*llu", prefix, DIGITS, (unsigned long long)number);
    uint64_t spread = (number * 2654435761u) % patients;
    int patient_len = snprintf(patient, sizeof patient, "%07llu", (unsigned long long)spread);
    size_t before = c->out_len;
    put(c, "\x0b", 1);
    for (int i = 0; i < piece_count; i++) {
        if (pieces[i].variable == 'i') put(c, id, (size_t)id_len);
        else if (pieces[i].variable == 'p') put(c, patient, (size_t)patient_len);
        else put(c, pieces[i].text, pieces[i].len);
    }
    put(c, "\x1c\r", 2);
    bytes_sent += c->out_len - before;
    c->ring[(c->head + c->used++) % window] = (struct waiting){number, t};
}

static void flush(struct connection *c) {
    while (c->out_sent < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) break;
            return; /* the read side sees the end of the connection */
        }
        c->out_sent += (size_t)n;
    }
    if (c->out_sent == c->out_len) c->out_sent = c->out_len = 0;
    int wants = c->out_len > 0;
    if (wants != c->wants_write) {
        struct epoll_event e = {.events = EPOLLIN | (wants ? EPOLLOUT : 0), .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
        c->wants_write = wants;
    }
}

static void fill(struct connection *c) {
    double t = now();
    while (c->used < window && may_send(t)) put_message(c, t);
    flush(c);
}

static void count_code(const char *code, size_t len) {
    char name[4] = "?";
    if (len > 0 && len < sizeof name) { memcpy(name, code, len); name[len] = 0; }
    int i = 0;
    while (i < codes && strcmp(code_name[i], name)) i++;
    if (i == codes) {
        if (codes == 8) i = 7; else strcpy(code_name[codes++], name);
    }
    code_count[i]++;
}

static void take_latency(double seconds) {
    if (latency_len == latency_cap) {
        latency_cap = latency_cap ? latency_cap * 2 : 1 << 16;
        latency = grow(latency, latency_cap * sizeof *latency);
    }
    latency[latency_len++] = seconds;
}

/* One acknowledgment between its start and end block. */
static void answer(struct connection *c, const char *text, size_t len, double t) {
    const char *msa = memmem(text, len, "\rMSA", 4);
    if (!msa || msa + 5 >= text + len) { unmatched++; return; }
    char bar = msa[4];
    const char *stop = text + len, *code = msa + 5;
    const char *code_end = memchr(code, bar, (size_t)(stop - code));
    if (!code_end) { unmatched++; return; }
    const char *id = code_end + 1, *id_end = id;
    while (id_end < stop && *id_end != bar && *id_end != '\r') id_end++;
    size_t id_len = (size_t)(id_end - id);
    if (id_len <= prefix_len || memcmp(id, prefix, prefix_len)) { unmatched++; return; }
    char digits[32] = "";
    if (id_len - prefix_len >= sizeof digits) { unmatched++; return; }
    memcpy(digits, id + prefix_len, id_len - prefix_len);
    uint64_t number = strtoull(digits, NULL, 10);
    unsigned at = 0;
    while (at < c->used && c->ring[(c->head + at) % window].number != number) at++;
    if (at == c->used) { unmatched++; return; }
    double since = c->ring[(c->head + at) % window].since;
    for (; at > 0; at--) c->ring[(c->head + at) % window] = c->ring[(c->head + at - 1) % window];
    c->head = (c->head + 1) % window;
    c->used--;
    count_code(code, (size_t)(code_end - code));
    acked++;
    if (accepted && code_end - code == 2 && (code[0] == 'A' || code[0] == 'C') && code[1] == 'A')
        fprintf(accepted, "%.*s\n", (int)id_len, id);
    if (acked > warmup) {
        if (first_ack == 0) first_ack = t; else take_latency(t - since);
        last_ack = t;
    }
}

static void close_connection(struct connection *c) {
    close(c->fd);
    c->fd = -1;
    lost += c->used;
    c->used = 0;
    live--;
}

static void receive(struct connection *c) {
    for (;;) {
        if (c->in_cap - c->in_len < 4096) c->in = grow(c->in, c->in_cap = c->in_cap ? c->in_cap * 2 : 65536);
        ssize_t n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
        if (n < 0 && errno == EAGAIN) break;
        if (n <= 0) { close_connection(c); return; }
        c->in_len += (size_t)n;
        if (c->in_len < c->in_cap) break;
    }
    double t = now();
    size_t at = 0;
    for (;;) {
        char *end = memchr(c->in + at, END, c->in_len - at);
        if (!end) break;
        answer(c, c->in + at, (size_t)(end - c->in) - at, t);
        at = (size_t)(end - c->in) + 1;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
    fill(c);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double percentile(double share) {
    if (!latency_len) return 0;
    size_t at = (size_t)((double)latency_len * share);
    return latency[at < latency_len ? at : latency_len - 1] * 1000;
}

static void report(double wall) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
               + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    qsort(latency, latency_len, sizeof *latency, compare);
    double span = last_ack - first_ack;
    printf("{\"sent\": %llu, \"acked\": %llu, \"codes\": {", (unsigned long long)sent, (unsigned long long)acked);
    for (int i = 0; i < codes; i++)
        printf("%s\"%s\": %llu", i ? ", " : "", code_name[i], (unsigned long long)code_count[i]);
    printf("}, \"unmatched\": %llu, \"unanswered\": %llu, \"message_bytes\": %llu, \"wall_s\": %.3f, \"rate\": %.1f, "
           "\"p50_ms\": %.3f, \"p95_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f, \"max_ms\": %.3f, \"cpu_s\": %.3f}\n",
           (unsigned long long)unmatched, (unsigned long long)lost,
           (unsigned long long)(sent ? bytes_sent / sent : 0), wall,
           span > 0 ? (double)latency_len / span : 0.0,
           percentile(.5), percentile(.95), percentile(.99), percentile(.999), percentile(1), cpu);
}

static int dial(const char *host, int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (fd < 0 || inet_pton(AF_INET, host, &a.sin_addr) != 1) die(host);
    if (connect(fd, (struct sockaddr *)&a, sizeof a)) die("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

int main(int argc, char **argv) {
    const char *host = "127.0.0.1", *template = NULL;
    int port = 0;
    double seconds = 0, limit = 120;
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--host")) host = value;
        else if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--template")) template = value;
        else if (!strcmp(name, "--connections")) connections = atoi(value);
        else if (!strcmp(name, "--window")) window = (unsigned)atoi(value);
        else if (!strcmp(name, "--count")) limit_count = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--seconds")) seconds = atof(value);
        else if (!strcmp(name, "--limit")) limit = atof(value);
        else if (!strcmp(name, "--warmup")) warmup = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--patients")) patients = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--prefix")) prefix = value;
        else if (!strcmp(name, "--accepted")) { if (!(accepted = fopen(value, "wb"))) die(value); }
        else { fprintf(stderr, "load: %s is not known\n", name); return 2; }
    }
    if (!port || !template || argc % 2 == 0 || connections < 1 || window < 1 || patients < 1) {
        fprintf(stderr, "load: --port and --template are needed, every option has one value\n");
        return 2;
    }
    prefix_len = strlen(prefix);
    if (prefix_len > 40) { fprintf(stderr, "load: the prefix is too long\n"); return 2; }
    read_template(template);
    epoll_fd = epoll_create1(0);
    struct connection *all = calloc((size_t)connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        all[i].fd = dial(host, port);
        all[i].ring = calloc(window, sizeof *all[i].ring);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, all[i].fd, &e);
        live++;
    }
    started = now();
    stop_at = started + (seconds > 0 ? seconds : limit);
    for (int i = 0; i < connections; i++) fill(&all[i]);
    struct epoll_event events[256];
    double give_up = stop_at + 10;
    while (live && (acked + lost + unmatched < sent || may_send(now())) && now() < give_up) {
        int n = epoll_wait(epoll_fd, events, 256, 200);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->fd < 0) continue;
            if (events[i].events & EPOLLOUT) flush(c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c);
        }
    }
    double wall = now() - started;
    for (int i = 0; i < connections; i++) lost += all[i].used;
    if (accepted) fclose(accepted);
    report(wall);
    return 0;
}
