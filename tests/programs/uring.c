// An HTTP server that moves bytes by io_uring or by read and write. For each line of standard input it takes one connection
// and answers one request: `inline` has the kernel carry the operations out in the calling thread, `worker` in a thread of
// the kernel's own, `call` are plain system calls.
#include <arpa/inet.h>
#include <err.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct io_uring_params ring;
static int ring_fd;
static char *submissions, *completions;
static struct io_uring_sqe *entries;

static void *map(size_t len, off_t what) {
    void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring_fd, what);
    if (at == MAP_FAILED) err(1, "mmap");
    return at;
}

static void set_up(void) {
    ring_fd = syscall(SYS_io_uring_setup, 4, &ring);
    if (ring_fd < 0) err(1, "io_uring_setup");
    submissions = map(ring.sq_off.array + ring.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    completions = map(ring.cq_off.cqes + ring.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
    entries = map(ring.sq_entries * sizeof *entries, IORING_OFF_SQES);
}

static int operation(int code, int fd, void *buffer, unsigned len, int in_worker) {
    _Atomic unsigned *tail = (_Atomic unsigned *)(submissions + ring.sq_off.tail);
    unsigned slot = *tail & (ring.sq_entries - 1);
    entries[slot] = (struct io_uring_sqe){
        .opcode = code, .fd = fd, .addr = (unsigned long)buffer, .len = len, .flags = in_worker ? IOSQE_ASYNC : 0};
    ((unsigned *)(submissions + ring.sq_off.array))[slot] = slot;
    atomic_fetch_add(tail, 1);
    if (syscall(SYS_io_uring_enter, ring_fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) err(1, "io_uring_enter");
    _Atomic unsigned *head = (_Atomic unsigned *)(completions + ring.cq_off.head);
    struct io_uring_cqe *all = (struct io_uring_cqe *)(completions + ring.cq_off.cqes);
    int result = all[*head & (ring.cq_entries - 1)].res;
    atomic_fetch_add(head, 1);
    if (result <= 0) errx(1, "operation %d: %s", code, strerror(-result));
    return result;
}

int main(void) {
    static char in[4096], out[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (void *)&at, len) || listen(listener, 16)) err(1, "listen");
    if (getsockname(listener, (void *)&at, &len)) err(1, "getsockname");
    set_up();
    printf("listening %d\n", ntohs(at.sin_port));
    fflush(stdout);
    char how[16];
    while (scanf("%15s", how) == 1) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) err(1, "accept");
        if (strcmp(how, "call") == 0) {
            if (read(fd, in, sizeof in) <= 0 || write(fd, out, sizeof out - 1) <= 0) err(1, "read and write");
        } else {
            int in_worker = strcmp(how, "worker") == 0;
            operation(IORING_OP_RECV, fd, in, sizeof in, in_worker);
            operation(IORING_OP_SEND, fd, out, sizeof out - 1, in_worker);
        }
        close(fd);
        puts("served");
        fflush(stdout);
    }
}
