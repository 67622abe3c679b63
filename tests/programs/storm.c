// Threads that are preempted as often as can be, each of which encrypts and decrypts messages that nobody else has. Threads of
// three priorities share each processor: `THREADS` starts so many threads. Each line of input says how many records more they are to
// make, all together; with its end they end.
#include <openssl/ssl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST = 1500, HEADER = 24 };

static SSL_CTX *contexts[2];
static pthread_barrier_t ready;
static atomic_long left;
static atomic_int is_over;

static void die(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

// `STORM` and the version, the thread, which of its messages; then what follows from these.
static void fill(unsigned char *message, int len, uint64_t thread, uint64_t number) {
    memcpy(message, "STORM..1", 8);
    memcpy(message + 8, &thread, 8);
    memcpy(message + 16, &number, 8);
    uint64_t state = (thread << 40 ^ number) * 0x9e3779b97f4a7c15 | 1;
    for (int at = HEADER; at < len; at += 8) {
        uint64_t word = next(&state);
        memcpy(message + at, &word, len - at < 8 ? len - at : 8);
    }
}

static void pass(SSL *from, SSL *to, unsigned char *sent, unsigned char *received, int len) {
    if (SSL_write(from, sent, len) != len) die("SSL_write");
    for (int have = 0; have < len;) {
        int got = SSL_read(to, received + have, len - have);
        if (got <= 0) die("SSL_read");
        have += got;
    }
    if (memcmp(sent, received, len)) die("what came is not what was sent");
}

static void rest(long nanoseconds) {
    struct timespec moment = {0, nanoseconds};
    nanosleep(&moment, NULL);
}

// Whether there is something to do.
static int take(void) {
    while (atomic_fetch_sub(&left, 4) <= 0) {
        atomic_fetch_add(&left, 4);
        if (atomic_load(&is_over)) return 0;
        rest(1000000);
    }
    return 1;
}

static void *storm(void *argument) {
    uint64_t thread = (uintptr_t)argument;
    cpu_set_t processors;
    CPU_ZERO(&processors);
    CPU_SET(thread % sysconf(_SC_NPROCESSORS_ONLN), &processors);
    pthread_setaffinity_np(pthread_self(), sizeof processors, &processors);
    SSL *client = SSL_new(contexts[0]), *server = SSL_new(contexts[1]);
    BIO *inner, *outer;
    if (!BIO_new_bio_pair(&inner, 1 << 17, &outer, 1 << 17)) die("BIO_new_bio_pair");
    SSL_set_bio(client, inner, inner);
    SSL_set_bio(server, outer, outer);
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    while (!SSL_is_init_finished(client) || !SSL_is_init_finished(server)) {
        SSL_do_handshake(client);
        SSL_do_handshake(server);
    }
    pthread_barrier_wait(&ready);
    int kind = thread / sysconf(_SC_NPROCESSORS_ONLN) % 3;
    struct sched_param priority = {.sched_priority = kind == 0 ? 1 : 0};
    int policies[] = {SCHED_FIFO, SCHED_IDLE, SCHED_OTHER};
    pthread_setschedparam(pthread_self(), policies[kind], &priority);
    unsigned char sent[LONGEST + 8], received[LONGEST + 8];
    uint64_t state = thread + 1;
    for (uint64_t number = 0; take();) {
        int len = HEADER + next(&state) % (LONGEST - HEADER);
        fill(sent, len, thread, number++);
        pass(client, server, sent, received, len);
        len = HEADER + next(&state) % (LONGEST - HEADER);
        fill(sent, len, thread, number++);
        pass(server, client, sent, received, len);
        if (kind == 0) {
            // It comes back in the midst of whatever runs then.
            rest(20000 + next(&state) % 180000);
        } else if (next(&state) % 4 == 0) {
            sched_yield();
        }
    }
    // Its connection stays until all are done.
    pthread_barrier_wait(&ready);
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 2) die("THREADS");
    long threads = atol(arguments[1]);
    contexts[0] = SSL_CTX_new(TLS_client_method());
    contexts[1] = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(contexts[1], "cert.pem") != 1) die("cert.pem");
    if (SSL_CTX_use_PrivateKey_file(contexts[1], "key.pem", SSL_FILETYPE_PEM) != 1) die("key.pem");
    pthread_barrier_init(&ready, NULL, threads + 1);
    for (long thread = 0; thread < threads; thread++) {
        pthread_t started;
        if (pthread_create(&started, NULL, storm, (void *)thread)) die("pthread_create");
    }
    pthread_barrier_wait(&ready);
    puts("ready");
    fflush(stdout);
    char line[32];
    while (fgets(line, sizeof line, stdin)) atomic_fetch_add(&left, atol(line));
    atomic_store(&is_over, 1);
    pthread_barrier_wait(&ready);
    puts("done");
    fflush(stdout);
    return 0;
}
