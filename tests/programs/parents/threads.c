/* A server with a thread per connection, whose calls are made by the thread that answers, over a pool of connections that all
 * threads share. How it is told what to call: see `tests/src/parents/mod.rs`. With the argument `fork` it has a process per
 * connection. */

#include <arpa/inet.h>
#include <err.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACK_ENDS = 8, CONNECTIONS = 64, CALLS = 8, MESSAGE = 4096 };

static int back_ends[BACK_ENDS], back_end_count;
static int idle[BACK_ENDS][CONNECTIONS], idle_count[BACK_ENDS], free_count, pool_size;
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t pool_has_room = PTHREAD_COND_INITIALIZER;

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

struct ask {
    char path[512], pattern[32], context[128];
    int calls;
};

struct call {
    int back_end, connection;
    struct ask ask;
    int number;
};

static void pause_ms(double least, double most) {
    usleep((useconds_t)(1000 * (least + (most - least) * (rand() / (double)RAND_MAX))));
}

/* Several at once, so that no two threads wait for each other with half of what they need. */
static void take_room(int count) {
    pthread_mutex_lock(&pool_lock);
    while (free_count < count)
        pthread_cond_wait(&pool_has_room, &pool_lock);
    free_count -= count;
    pthread_mutex_unlock(&pool_lock);
}

static int connection_to(int back_end) {
    pthread_mutex_lock(&pool_lock);
    int found = idle_count[back_end] > 0 ? idle[back_end][--idle_count[back_end]] : -1;
    pthread_mutex_unlock(&pool_lock);
    if (found >= 0)
        return found;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(back_ends[back_end]), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    found = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(found, (struct sockaddr *)&address, sizeof address))
        err(1, "connect");
    int yes = 1;
    setsockopt(found, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return found;
}

static void give_back(struct call *call) {
    pthread_mutex_lock(&pool_lock);
    idle[call->back_end][idle_count[call->back_end]++] = call->connection;
    free_count++;
    pthread_cond_broadcast(&pool_has_room);
    pthread_mutex_unlock(&pool_lock);
}

static void ask(struct call *call) {
    char text[MESSAGE];
    call->connection = connection_to(call->back_end);
    int length = snprintf(text, sizeof text, "GET %s.%d HTTP/1.1\r\nHost: localhost\r\n%s\r\n", call->ask.path, call->number,
                          call->ask.context);
    if (write(call->connection, text, length) != length)
        err(1, "write");
}

/* Back ends answer in one piece, with a short body. */
static void hear(struct call *call) {
    char text[MESSAGE];
    size_t length = 0;
    for (;;) {
        ssize_t got = read(call->connection, text + length, sizeof text - length - 1);
        if (got <= 0)
            errx(1, "a back end closes");
        text[length += got] = 0;
        char *end = strstr(text, "\r\n\r\n"), *size = strcasestr(text, "content-length:");
        if (end && size && length >= (size_t)(end + 4 - text) + atoi(size + 15))
            break;
    }
    give_back(call);
}

static volatile int was_asked;

/* Work of the service's own, of no request, from the first on. */
static void *in_the_background(void *given) {
    for (int at = 1;; at++) {
        usleep((useconds_t)(long)given * 1000);
        if (!was_asked)
            continue;
        struct call call = {0};
        snprintf(call.ask.path, sizeof call.ask.path, "/background%dn%d", getpid(), at);
        call.number = 1;
        take_room(1);
        ask(&call);
        hear(&call);
    }
    return NULL;
}

static void *forgotten(void *given) {
    struct call *call = given;
    take_room(1);
    pause_ms(0, 2);
    ask(call);
    hear(call);
    free(call);
    return NULL;
}

static void make_calls(struct ask *of) {
    struct call calls[CALLS];
    for (int at = 0; at < of->calls; at++)
        calls[at] = (struct call){.back_end = at % back_end_count, .ask = *of, .number = at + 1};
    if (!strcmp(of->pattern, "parallel") && of->calls) {
        take_room(of->calls);
        for (int at = 0; at < of->calls; at++)
            ask(&calls[at]);
        for (int at = 0; at < of->calls; at++)
            hear(&calls[at]);
    } else if (!strcmp(of->pattern, "forget")) {
        for (int at = 0; at < of->calls; at++) {
            pthread_t thread;
            struct call *call = malloc(sizeof *call);
            *call = calls[at];
            pthread_create(&thread, NULL, forgotten, call);
            pthread_detach(thread);
        }
    } else {
        for (int at = 0; at < of->calls; at++) {
            if (!strcmp(of->pattern, "pause"))
                pause_ms(1, 5);
            take_room(1);
            ask(&calls[at]);
            hear(&calls[at]);
        }
    }
}

/* `/r17?p=parallel&n=2`; what the query leaves out is as the environment says. */
static struct ask parse(char *request) {
    struct ask ask = {.calls = atoi(setting("CALLS", "0"))};
    snprintf(ask.pattern, sizeof ask.pattern, "%s", setting("PATTERN", "sequential"));
    char *context = strcasestr(request, "\r\ntraceparent:");
    if (context)
        snprintf(ask.context, sizeof ask.context, "%.*s\r\n", (int)strcspn(context + 2, "\r"), context + 2);
    char *path = strchr(request, ' ') + 1;
    path[strcspn(path, " ")] = 0;
    char *query = strchr(path, '?');
    if (query) {
        *query++ = 0;
        char *pattern = strstr(query, "p="), *count = strstr(query, "n=");
        if (pattern)
            snprintf(ask.pattern, sizeof ask.pattern, "%.*s", (int)strcspn(pattern + 2, "&"), pattern + 2);
        if (count)
            ask.calls = atoi(count + 2);
    }
    if (ask.calls > CALLS)
        ask.calls = CALLS;
    if (!back_end_count)
        ask.calls = 0;
    snprintf(ask.path, sizeof ask.path, "%s", path);
    return ask;
}

static void *serve(void *given) {
    int connection = (int)(long)given;
    double delay = atof(setting("DELAY", "0"));
    char text[MESSAGE];
    for (;;) {
        size_t length = 0;
        do {
            ssize_t got = read(connection, text + length, sizeof text - length - 1);
            if (got <= 0) {
                close(connection);
                return NULL;
            }
            text[length += got] = 0;
        } while (!strstr(text, "\r\n\r\n"));
        int closes = strcasestr(text, "\r\nconnection: close") || strstr(text, " HTTP/1.0\r\n");
        struct ask ask = parse(text);
        was_asked = 1;
        make_calls(&ask);
        if (delay > 0)
            pause_ms(0, delay);
        length = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: %s\r\n\r\nok",
                          closes ? "close" : "keep-alive");
        if (write(connection, text, length) != (ssize_t)length || closes) {
            close(connection);
            return NULL;
        }
    }
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    char *ports = strdup(setting("BACKENDS", ""));
    for (char *port = strtok(ports, ","); port && back_end_count < BACK_ENDS; port = strtok(NULL, ","))
        back_ends[back_end_count++] = atoi(port);
    pool_size = atoi(setting("POOL", "8"));
    free_count = pool_size < CONNECTIONS ? pool_size : CONNECTIONS;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(atoi(setting("LISTEN", "0"))),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024))
        err(1, "listen");
    socklen_t size = sizeof address;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 << 10);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    long background = atoi(setting("BACKGROUND", "0"));
    if (background) {
        pthread_t thread;
        pthread_create(&thread, &small, in_the_background, (void *)background);
    }
    int forks = argc > 1 && !strcmp(argv[1], "fork");
    for (;;) {
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            continue;
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (forks) {
            if (fork() == 0) {
                close(listener);
                serve((void *)(long)connection);
                // What it has forgotten goes on; the process ends with the last of its threads.
                pthread_exit(NULL);
            }
            close(connection);
        } else {
            pthread_t thread;
            if (pthread_create(&thread, &small, serve, (void *)(long)connection))
                err(1, "a thread");
        }
    }
}
