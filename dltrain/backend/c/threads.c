/* Threads that share one call. A call is cut into parts that do not depend on each other, so it does not matter which
   thread computes which part. A worker spins for a moment after a call, because in a training step the next call comes
   soon and to wake a thread takes longer than many a call; then the worker sleeps. While it spins it yields the core to
   any thread that wants it. A call that finds the workers busy with another caller's call computes alone. */
#include "kernels.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define SPIN_NS 2000000 /* what Python takes between two calls and between two steps, and some more */
#define MAX_WORKERS 63

static struct {
    _Atomic uint64_t ticket;                              /* the call's number, times 2^32, and its parts not yet taken */
    _Atomic(Part) compute;
    const void *_Atomic call;
    _Atomic i64 parts, done;
    atomic_int failed, busy, asleep;
    int workers;                                          /* the rest changes only while busy */
    pthread_mutex_t lock;
    pthread_cond_t wake;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

i64 now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (i64)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Compute parts as long as there are any. A thread reads what the call consists of before it takes a part: when the
   taking succeeds, what it read belongs to the call whose part it took. */
static void take_parts(void) {
    for (;;) {
        uint64_t ticket = pool.ticket;
        if (!(uint32_t)ticket) return;
        Part compute = pool.compute;
        const void *call = pool.call;
        i64 parts = pool.parts;
        if (!atomic_compare_exchange_strong(&pool.ticket, &ticket, ticket - 1)) continue;
        if (compute(call, (i64)(uint32_t)ticket - 1, parts)) pool.failed = 1;
        pool.done++;
    }
}

static void *work(void *nothing) {
    for (;;) {
        for (i64 until = now_ns() + SPIN_NS; !(uint32_t)pool.ticket && now_ns() < until;) sched_yield();
        if (!(uint32_t)pool.ticket) {
            pthread_mutex_lock(&pool.lock);
            pool.asleep++;
            while (!(uint32_t)pool.ticket) pthread_cond_wait(&pool.wake, &pool.lock);
            pool.asleep--;
            pthread_mutex_unlock(&pool.lock);
        }
        take_parts();
    }
    return nothing;
}

/* A forked process has none of its parent's threads. */
static void reset(void) {
    pool.ticket = 0;
    pool.busy = 0;
    pool.asleep = 0;
    pool.workers = 0;
    pthread_mutex_init(&pool.lock, 0);
    pthread_cond_init(&pool.wake, 0);
}

static void spawn(i64 wanted) {
    if (pool.workers >= wanted) return;
    static int watching;
    if (!watching) watching = !pthread_atfork(0, 0, reset);
    sigset_t all, before;
    sigfillset(&all);                                     /* signals are for the threads of the program itself */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    while (pool.workers < MIN(wanted, MAX_WORKERS) && !pthread_create(&thread, 0, work, 0)) {
        pthread_detach(thread);
        pool.workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
}

int parallel_for(i64 parts, Part compute, const void *call) {
    if (parts < 2 || atomic_exchange(&pool.busy, 1)) {
        int failed = 0;
        for (i64 part = 0; part < parts; part++) failed |= compute(call, part, parts);
        return failed;
    }
    spawn(parts - 1);
    pool.compute = compute;
    pool.call = call;
    pool.parts = parts;
    pool.done = 0;
    pool.failed = 0;
    pool.ticket = ((pool.ticket >> 32) + 1) << 32 | (uint64_t)parts;
    if (pool.asleep) {
        pthread_mutex_lock(&pool.lock);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.lock);
    }
    take_parts();
    while (pool.done < parts) sched_yield();
    int failed = pool.failed;
    pool.busy = 0;
    return failed;
}
