// An HTTP server that moves bytes by whatever system calls it is told to. Its argument is `tcp4`, `tcp6`, or the path of
// a unix socket. For each line `RECEIVE SEND HEAD TOTAL` of standard input it takes one connection, reads the request
// of TOTAL bytes (the first HEAD of which are its head) by the one call, and answers by the other.
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static char in[8192], body[1 << 20];

static size_t moved(ssize_t count, const char *call) {
    if (count <= 0) err(1, "%s", call);
    return count;
}

static int is(const char *a, const char *b) { return strcmp(a, b) == 0; }

// Three buffers: an empty one, a short one, and the rest.
static struct msghdr pieces(struct iovec iov[3], char *at, size_t len) {
    size_t first = len < 10 ? len : 10;
    iov[0] = (struct iovec){at, 0};
    iov[1] = (struct iovec){at, first};
    iov[2] = (struct iovec){at + first, len - first};
    return (struct msghdr){.msg_iov = iov, .msg_iovlen = 3};
}

static void through_pipe(int from, int to, size_t len) {
    int ends[2];
    if (pipe(ends)) err(1, "pipe");
    for (size_t done = 0; done < len;) {
        size_t step = moved(splice(from, NULL, ends[1], NULL, len - done, 0), "splice into a pipe");
        for (size_t out = 0; out < step;) out += moved(splice(ends[0], NULL, to, NULL, step - out, 0), "splice");
        done += step;
    }
    close(ends[0]);
    close(ends[1]);
}

static void receive(int fd, const char *call, size_t head, size_t total) {
    int available = 0;
    while ((size_t)available < total) {
        if (ioctl(fd, FIONREAD, &available)) err(1, "FIONREAD");
        usleep(200);
    }
    struct iovec iov[3];
    for (size_t n = 0; n < total;) {
        char *at = in + n;
        size_t left = total - n;
        struct msghdr message = pieces(iov, at, left);
        if (is(call, "read")) {
            n += moved(read(fd, at, left < 37 ? left : 37), call);
        } else if (is(call, "readv")) {
            n += moved(readv(fd, iov, 3), call);
        } else if (is(call, "preadv2")) {
            n += moved(preadv2(fd, iov, 3, -1, 0), call);
        } else if (is(call, "recv")) {
            n += moved(recv(fd, at, left, 0), call);
        } else if (is(call, "peek")) {
            moved(recv(fd, at, 20, MSG_PEEK), call);
            moved(recv(fd, at, left, MSG_PEEK), call);
            n += moved(recv(fd, at, left, 0), call);
        } else if (is(call, "recvmsg")) {
            n += moved(recvmsg(fd, &message, 0), call);
        } else if (is(call, "recvmsg-peek")) {
            moved(recvmsg(fd, &message, MSG_PEEK), call);
            n += moved(recvmsg(fd, &message, 0), call);
        } else if (is(call, "recvmmsg")) {
            struct mmsghdr many[4] = {0};
            struct iovec parts[4];
            for (int i = 0; i < 4; i++) {
                parts[i] = (struct iovec){at + 50 * i, 50};
                many[i].msg_hdr = (struct msghdr){.msg_iov = parts + i, .msg_iovlen = 1};
            }
            int count = moved(recvmmsg(fd, many, 4, MSG_WAITFORONE, NULL), call);
            for (int i = 0; i < count; i++) n += many[i].msg_len;
        } else if (is(call, "waitall")) {
            n += moved(recv(fd, at, total, MSG_WAITALL), call);
        } else if (is(call, "trunc")) {
            n += n < head ? moved(recv(fd, at, head - n, 0), call) : moved(recv(fd, at, left, MSG_TRUNC), call);
        } else if (is(call, "splice")) {
            if (n < head) {
                n += moved(read(fd, at, head - n), call);
            } else {
                int nowhere = open("/dev/null", O_WRONLY);
                through_pipe(fd, nowhere, left);
                close(nowhere);
                n = total;
            }
        } else {
            errx(1, "unknown call %s", call);
        }
    }
}

static void all(int fd, const char *at, size_t len) {
    for (size_t n = 0; n < len;) n += moved(write(fd, at + n, len - n), "write");
}

static int file(size_t len) {
    int fd = memfd_create("body", 0);
    if (fd < 0) err(1, "memfd_create");
    all(fd, body, len);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

// A chunked response of `count` chunks of `size` bytes, each in three buffers as Node writes them, in one call.
static void chunks(int fd, int count, int size) {
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct iovec iov[1024];
    char length[16];
    int n = 0, length_len = snprintf(length, sizeof length, "%x\r\n", size);
    size_t all = 0;
    iov[n++] = (struct iovec){(void *)head, sizeof head - 1};
    for (int i = 0; i < count; i++) {
        iov[n++] = (struct iovec){length, length_len};
        iov[n++] = (struct iovec){body, size};
        iov[n++] = (struct iovec){"\r\n", 2};
    }
    iov[n++] = (struct iovec){"0\r\n\r\n", 5};
    for (int i = 0; i < n; i++) all += iov[i].iov_len;
    if (moved(writev(fd, iov, n), "writev") != all) errx(1, "writev: only a part");
}

static void answer(int fd, const char *call) {
    size_t len = is(call, "sendfile") || is(call, "splice") ? 30000 : is(call, "partial") ? sizeof body : 300;
    char text[1024];
    int head = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
    char *whole = text;
    if (len <= 300) memcpy(text + head, body, len);
    size_t size = head + len;
    struct iovec iov[3];
    struct msghdr message = pieces(iov, whole, size);
    if (is(call, "write")) {
        all(fd, whole, size);
    } else if (is(call, "writev")) {
        moved(writev(fd, iov, 3), call);
    } else if (is(call, "pwritev2")) {
        moved(pwritev2(fd, iov, 3, -1, 0), call);
    } else if (is(call, "send")) {
        moved(send(fd, whole, head, MSG_MORE), call);
        moved(send(fd, whole + head, len, 0), call);
    } else if (is(call, "sendmsg")) {
        moved(sendmsg(fd, &message, 0), call);
    } else if (is(call, "chunks")) {
        chunks(fd, 7, 1000);
    } else if (is(call, "many-chunks")) {
        chunks(fd, 100, 150);
    } else if (is(call, "zerocopy")) {
        int one = 1;
        // Unix sockets have no such option, and ignore the flag.
        int may = setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one) == 0;
        moved(send(fd, whole, size, may ? MSG_ZEROCOPY : 0), call);
        // What tells that the buffer is free again comes by the error queue, and is no data.
        char note[256];
        struct msghdr told = {.msg_control = note, .msg_controllen = sizeof note};
        if (may && (poll(&(struct pollfd){fd, 0, 0}, 1, -1) < 0 || recvmsg(fd, &told, MSG_ERRQUEUE) < 0)) err(1, "zerocopy");
    } else if (is(call, "sendmmsg")) {
        struct iovec parts[3] = {{whole, head}, {whole + head, 100}, {whole + head + 100, len - 100}};
        struct mmsghdr many[3] = {0};
        for (int i = 0; i < 3; i++) many[i].msg_hdr = (struct msghdr){.msg_iov = parts + i, .msg_iovlen = 1};
        if (sendmmsg(fd, many, 3, 0) != 3) err(1, "sendmmsg");
    } else if (is(call, "sendfile")) {
        all(fd, text, head);
        int from = file(len);
        for (size_t n = 0; n < len;) n += moved(sendfile(fd, from, NULL, len - n), call);
        close(from);
    } else if (is(call, "splice")) {
        all(fd, text, head);
        int from = file(len);
        through_pipe(from, fd, len);
        close(from);
    } else if (is(call, "partial")) {
        int small = 4608;
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        all(fd, text, head);
        for (size_t n = 0; n < len;) {
            ssize_t step = write(fd, body + n, len - n);
            if (step > 0) n += step;
            else if (errno != EAGAIN) err(1, "write");
            else if (poll(&(struct pollfd){fd, POLLOUT, 0}, 1, -1) < 0) err(1, "poll");
        }
    } else {
        errx(1, "unknown call %s", call);
    }
}

int main(int count, char **arguments) {
    (void)count;
    const char *family = arguments[1];
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr *at = (struct sockaddr *)&path;
    socklen_t len = sizeof path;
    if (is(family, "tcp4")) at = (struct sockaddr *)&v4, len = sizeof v4;
    else if (is(family, "tcp6")) at = (struct sockaddr *)&v6, len = sizeof v6;
    else snprintf(path.sun_path, sizeof path.sun_path, "%s", family);
    int listener = socket(at->sa_family, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, at, len) || listen(listener, 16)) err(1, "%s", family);
    if (getsockname(listener, at, &len)) err(1, "getsockname");
    memset(body, 'b', sizeof body);
    printf("listening %d\n", at == (struct sockaddr *)&path ? 0 : ntohs(at == (struct sockaddr *)&v4 ? v4.sin_port : v6.sin6_port));
    fflush(stdout);
    char receiving[32], sending[32];
    size_t head, total;
    while (scanf("%31s %31s %zu %zu", receiving, sending, &head, &total) == 4) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) err(1, "accept");
        receive(fd, receiving, head, total);
        answer(fd, sending);
        close(fd);
        puts("served");
        fflush(stdout);
    }
}
