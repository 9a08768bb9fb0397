/* Threads that share one call. A call is cut into parts that do not depend on each other, so it does not matter who
   computes which. The threads that help stay awake for a moment between calls, for the next one comes soon in a training
   step and to wake a thread takes longer than many a call; then they sleep. Who waits awake leaves the core to others that
   want it. A call finds the team at work for somebody else: it does without. */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

typedef int (*Part)(const void *call, i64 part, i64 parts); /* returns 1 when memory is short */

#define AWAKE 2000000 /* nanoseconds: what Python takes between two calls and between two steps, and some more */
#define MOST_HELPERS 63

static struct {
    _Atomic uint64_t ticket;                              /* the call's number, times 2^32, and its parts not yet taken */
    _Atomic(Part) compute;
    const void *_Atomic call;
    _Atomic i64 parts, done;
    atomic_int failed, busy, asleep;
    int helpers;                                          /* the rest changes only while busy */
    pthread_mutex_t lock;
    pthread_cond_t wake;
} team = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static i64 nanoseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (i64)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Compute parts as long as there are any. What a call consists of is read before its part is taken: when the taking
   succeeds, it was of the call that the part is of. */
static void take_parts(void) {
    for (;;) {
        uint64_t ticket = team.ticket;
        if (!(uint32_t)ticket) return;
        Part compute = team.compute;
        const void *call = team.call;
        i64 parts = team.parts;
        if (!atomic_compare_exchange_strong(&team.ticket, &ticket, ticket - 1)) continue;
        if (compute(call, (i64)(uint32_t)ticket - 1, parts)) team.failed = 1;
        team.done++;
    }
}

static void *help(void *nothing) {
    for (;;) {
        for (i64 until = nanoseconds() + AWAKE; !(uint32_t)team.ticket && nanoseconds() < until;) sched_yield();
        if (!(uint32_t)team.ticket) {
            pthread_mutex_lock(&team.lock);
            team.asleep++;
            while (!(uint32_t)team.ticket) pthread_cond_wait(&team.wake, &team.lock);
            team.asleep--;
            pthread_mutex_unlock(&team.lock);
        }
        take_parts();
    }
    return nothing;
}

/* A process that is forked has none of its parent's threads. */
static void disband(void) {
    team.ticket = 0;
    team.busy = 0;
    team.asleep = 0;
    team.helpers = 0;
    pthread_mutex_init(&team.lock, 0);
    pthread_cond_init(&team.wake, 0);
}

static void hire(i64 wanted) {
    if (team.helpers >= wanted) return;
    static int watching;
    if (!watching) watching = !pthread_atfork(0, 0, disband);
    sigset_t all, before;
    sigfillset(&all);                                     /* signals are for the threads that were there before */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    while (team.helpers < SMALLER(wanted, MOST_HELPERS) && !pthread_create(&thread, 0, help, 0)) {
        pthread_detach(thread);
        team.helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
}

/* compute(call, 0 ... parts - 1, parts), on as many threads where they are to be had. Returns 1 when one did. */
static int together(i64 parts, Part compute, const void *call) {
    if (parts < 2 || atomic_exchange(&team.busy, 1)) {
        int failed = 0;
        for (i64 part = 0; part < parts; part++) failed |= compute(call, part, parts);
        return failed;
    }
    hire(parts - 1);
    team.compute = compute;
    team.call = call;
    team.parts = parts;
    team.done = 0;
    team.failed = 0;
    team.ticket = ((team.ticket >> 32) + 1) << 32 | (uint64_t)parts;
    if (team.asleep) {
        pthread_mutex_lock(&team.lock);
        pthread_cond_broadcast(&team.wake);
        pthread_mutex_unlock(&team.lock);
    }
    take_parts();
    while (team.done < parts) sched_yield();
    int failed = team.failed;
    team.busy = 0;
    return failed;
}
