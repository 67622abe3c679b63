/* A client that says which span is active on its thread (OTEP 4947), as an SDK would: `context PORT`. It calls while a span is active, while none is, and while what it says is
 * not valid; by threads of its own too. With -DLIBRARY it is the variable alone, as a library that others load; with -DUSES_LIBRARY the variable is such a library's. */

#include <arpa/inet.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct record {
    uint8_t trace_id[16], span_id[8], valid, flags;
    uint16_t length;
};

#ifdef LIBRARY
__thread struct record *otel_thread_ctx_v1;
void say(struct record *record) { otel_thread_ctx_v1 = record; }
#else
#ifdef USES_LIBRARY
void say(struct record *record);
#else
__attribute__((visibility("default"))) __thread struct record *otel_thread_ctx_v1;
static void say(struct record *record) { otel_thread_ctx_v1 = record; }
#endif

static int port;

static void call(const char *path) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[4096];
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&address, sizeof address))
        perror("connect"), exit(1);
    int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n", path);
    if (write(connection, text, length) != length)
        perror("write"), exit(1);
    while (read(connection, text, sizeof text) > 0) {
    }
    close(connection);
}

/* The ids of thread N are made of N. */
static void *calls(void *argument) {
    int number = (int)(intptr_t)argument;
    char path[64];
    struct record record = {.valid = 1, .flags = 1};
    memset(record.trace_id, number, sizeof record.trace_id);
    for (int at = 1; at <= 20; at++) {
        memset(record.span_id, 16 * number + at % 16, sizeof record.span_id);
        if (record.span_id[0] == 0)
            continue;
        say(&record);
        snprintf(path, sizeof path, "/active/%02x/%02x/%d", number, record.span_id[0], at);
        call(path);
        say(NULL);
        snprintf(path, sizeof path, "/none/%02x/%d", number, at);
        call(path);
        record.valid = 0;
        say(&record);
        snprintf(path, sizeof path, "/invalid/%02x/%d", number, at);
        call(path);
        record.valid = 1;
    }
    say(NULL);
    return NULL;
}

int main(int argc, char **argv) {
    port = atoi(argv[1]);
    /* The process's own context, empty (OTEP 4719). */
    int file = memfd_create("OTEL_CTX", 0);
    if (argc < 2 || ftruncate(file, 4096) || mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0) == MAP_FAILED)
        return perror("OTEL_CTX"), 1;
    say(NULL);
    printf("ready\n");
    fflush(stdout);
    getchar();
    pthread_t threads[4];
    for (int at = 0; at < 4; at++)
        pthread_create(&threads[at], NULL, calls, (void *)(intptr_t)(at + 1));
    for (int at = 0; at < 4; at++)
        pthread_join(threads[at], NULL);
    printf("done\n");
    fflush(stdout);
    pause();
}
#endif
