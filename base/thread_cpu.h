/*
 * On which CPU another thread runs, told without a system call.
 *
 * The kernel keeps a thread's CPU in its restartable-sequences area, which the C library registers for each thread (Linux,
 * include/uapi/linux/rseq.h; glibc manual, "Restartable Sequences"). A thread that publishes lets others of its process read it.
 */
#ifndef BASE_THREAD_CPU_H
#define BASE_THREAD_CPU_H

/*
 * Publishes the calling thread's CPU until the thread ends. A thread may call it again, which does nothing. Where the C library has
 * not registered the area, thread_cpu_of() never finds the thread.
 */
void thread_cpu_publish(void);
/*
 * The CPU on which a thread that has published ran when it was last given one, or last returned to user mode; -1: it has not
 * published. Cheap: a lock that is rarely contended.
 */
int thread_cpu_of(int thread_id);

#endif
