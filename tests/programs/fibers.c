// HTTP over TLS by fibers that switch stacks within the library: its calls wait for the socket by carrying on another fiber, and
// with `threads` whoever carries one on is another thread each time. `serve CERTIFICATE KEY [threads]` answers with the
// status that ends the path; `call PORT CONNECTIONS CALLS [threads]` begins when it reads a line.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

enum { FIBERS = 64, STACK = 256 << 10, THREADS = 3 };

struct fiber {
    ucontext_t context;
    int socket, waits_for, is_used;
    void (*runs)(struct fiber *);
};

static struct fiber fibers[FIBERS];
static struct fiber *current;
// Where a thread waits for the next fiber; only one thread runs at any time.
static ucontext_t *home;
static SSL_CTX *ssl_context;
static int calls_each;

static void wait_for(int events) {
    struct fiber *self = current;
    self->waits_for = events;
    swapcontext(&self->context, home);
}

// On their own, so that no address of `errno` outlives a change of threads.
__attribute__((noinline)) static int receive(int socket, char *bytes, int len) {
    int received = recv(socket, bytes, len, 0);
    return received < 0 ? -errno : received;
}

__attribute__((noinline)) static int transmit(int socket, const char *bytes, int len) {
    int sent = send(socket, bytes, len, MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

static int bio_read(BIO *bio, char *bytes, int len) {
    int socket = (int)(long)BIO_get_data(bio), received;
    while ((received = receive(socket, bytes, len)) == -EAGAIN) wait_for(POLLIN);
    return received < 0 ? -1 : received;
}

static int bio_write(BIO *bio, const char *bytes, int len) {
    int socket = (int)(long)BIO_get_data(bio), sent;
    while ((sent = transmit(socket, bytes, len)) == -EAGAIN) wait_for(POLLOUT);
    return sent < 0 ? -1 : sent;
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static SSL *ssl_on(int socket) {
    static BIO_METHOD *method;
    if (!method) {
        method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "fiber");
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_ctrl(method, bio_control);
    }
    BIO *bio = BIO_new(method);
    BIO_set_data(bio, (void *)(long)socket);
    BIO_set_init(bio, 1);
    SSL *ssl = SSL_new(ssl_context);
    SSL_set_bio(ssl, bio, bio);
    return ssl;
}

// Reads a header block and the body behind it, of `Content-Length` bytes; 0 at the end.
static int message(SSL *ssl, char *head, int size) {
    int len = 0;
    char *end;
    head[0] = 0;
    while (!(end = strstr(head, "\r\n\r\n"))) {
        int read = SSL_read(ssl, head + len, size - 1 - len);
        if (read <= 0) return 0;
        head[len += read] = 0;
    }
    char *length = strcasestr(head, "content-length:"), rest[4096];
    for (int left = (length ? atoi(length + 15) : 0) - (int)(head + len - (end + 4)); left > 0;) {
        int read = SSL_read(ssl, rest, left < (int)sizeof rest ? left : (int)sizeof rest);
        if (read <= 0) return 0;
        left -= read;
    }
    return 1;
}

static void finish(struct fiber *self, SSL *ssl) {
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(self->socket);
    self->is_used = 0;
    setcontext(home);
}

static void serve(struct fiber *self) {
    SSL *ssl = ssl_on(self->socket);
    char head[4096], answer[400], path[200];
    if (SSL_accept(ssl) == 1)
        while (message(ssl, head, sizeof head)) {
            sscanf(head, "%*s %199s", path);
            int len = sprintf(answer, "HTTP/1.1 %d Said\r\nContent-Length: %zu\r\n\r\n%s", atoi(strrchr(path, '/') + 1), strlen(path), path);
            if (SSL_write(ssl, answer, len) <= 0) break;
        }
    finish(self, ssl);
}

static void call(struct fiber *self) {
    int number = self - fibers;
    char head[4096], request[400];
    SSL *ssl = ssl_on(self->socket);
    if (SSL_connect(ssl) == 1)
        for (int i = 0; i < calls_each; i++) {
            int status = 400 + (number * 7 + i) % 50;
            int len = sprintf(request, "GET /%d/%d/%d HTTP/1.1\r\nHost: h\r\n\r\n", number, i, status);
            if (SSL_write(ssl, request, len) <= 0 || !message(ssl, head, sizeof head) || atoi(head + 9) != status) {
                printf("wrong answer\n");
                break;
            }
        }
    finish(self, ssl);
}

static void run(void) { current->runs(current); }

// --- threads that carry fibers on

static sem_t turn[THREADS], done;
static int threads, next_thread;

static void carry_on(struct fiber *fiber) {
    static __thread ucontext_t own;
    volatile int back = 0;
    home = &own;
    current = fiber;
    getcontext(&own);
    if (!back) {
        back = 1;
        setcontext(&fiber->context);
    }
}

static void *worker(void *number) {
    for (;;) {
        sem_wait(&turn[(long)number]);
        carry_on(current);
        sem_post(&done);
    }
    return NULL;
}

static void resume(struct fiber *fiber) {
    if (!threads) {
        carry_on(fiber);
        return;
    }
    current = fiber;
    sem_post(&turn[next_thread++ % THREADS]);
    sem_wait(&done);
}

static void begin(int socket, void (*runs)(struct fiber *)) {
    static char *stacks;
    if (!stacks) stacks = mmap(NULL, (size_t)FIBERS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < FIBERS; i++) {
        struct fiber *fiber = fibers + i;
        if (fiber->is_used) continue;
        fcntl(socket, F_SETFL, O_NONBLOCK);
        getcontext(&fiber->context);
        fiber->context.uc_stack.ss_sp = stacks + i * (long)STACK;
        fiber->context.uc_stack.ss_size = STACK;
        fiber->context.uc_link = NULL;
        fiber->socket = socket, fiber->runs = runs, fiber->is_used = 1, fiber->waits_for = 0;
        makecontext(&fiber->context, run, 0);
        resume(fiber);
        return;
    }
    close(socket);
}

int main(int count, char **argument) {
    int calls = !strcmp(argument[1], "call"), listener = -1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    threads = !strcmp(argument[count - 1], "threads");
    sem_init(&done, 0, 0);
    for (long i = 0; threads && i < THREADS; i++) {
        pthread_t thread;
        sem_init(&turn[i], 0, 0);
        pthread_create(&thread, NULL, worker, (void *)i);
    }
    ssl_context = SSL_CTX_new(calls ? TLS_client_method() : TLS_server_method());
    if (calls) {
        address.sin_port = htons(atoi(argument[2]));
        calls_each = atoi(argument[4]);
        printf("ready\n"), fflush(stdout);
        for (int byte; (byte = getchar()) != '\n' && byte != EOF;) {}
        for (int i = 0; i < atoi(argument[3]); i++) {
            int made = socket(AF_INET, SOCK_STREAM, 0);
            connect(made, (void *)&address, sizeof address);
            begin(made, call);
        }
    } else {
        SSL_CTX_use_certificate_file(ssl_context, argument[2], SSL_FILETYPE_PEM);
        SSL_CTX_use_PrivateKey_file(ssl_context, argument[3], SSL_FILETYPE_PEM);
        listener = socket(AF_INET, SOCK_STREAM, 0);
        bind(listener, (void *)&address, sizeof address);
        listen(listener, FIBERS);
        getsockname(listener, (void *)&address, &size);
        printf("listening %d\n", ntohs(address.sin_port)), fflush(stdout);
    }
    for (;;) {
        struct pollfd polled[FIBERS + 1];
        struct fiber *of[FIBERS + 1];
        int len = 0;
        if (!calls) polled[len] = (struct pollfd){listener, POLLIN, 0}, of[len++] = NULL;
        for (int i = 0; i < FIBERS; i++)
            if (fibers[i].is_used) polled[len] = (struct pollfd){fibers[i].socket, fibers[i].waits_for, 0}, of[len++] = fibers + i;
        if (!len) break;
        poll(polled, len, -1);
        for (int i = 0; i < len; i++) {
            if (!polled[i].revents) continue;
            if (!of[i]) begin(accept(listener, NULL, NULL), serve);
            else if (of[i]->is_used) resume(of[i]);
        }
    }
    printf("done\n"), fflush(stdout);
    // Lives until its input ends: its own end would take what is not told yet with it.
    while (getchar() != EOF) {}
    return 0;
}
