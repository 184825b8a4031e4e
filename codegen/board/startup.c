/* Vector table and reset of a Cortex-M core; firmware.ld defines the symbols. */
#include <stdint.h>

typedef void (*handler_t)(void);

extern uint32_t __data_load[], __data_start[], __data_end[], __bss_start[], __bss_end[], __stack_top[];

int main(void);
void Reset_Handler(void) __attribute__((noreturn));
void Default_Handler(void) __attribute__((noreturn));

void Default_Handler(void)
{
    for (;;) {
    }
}

/* Apart from the reset: it may use vectors and low-overhead loops, which the reset switches on. */
__attribute__((noinline, noreturn)) static void start(void)
{
    const uint32_t *from = __data_load;
    for (uint32_t *to = __data_start; to != __data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = __bss_start; to != __bss_end; to++) {
        *to = 0;
    }
    (void)main();
    Default_Handler();
}

void Reset_Handler(void)
{
#if defined(__ARM_FEATURE_MVE)
    volatile uint32_t *const coprocessor_access = (volatile uint32_t *)0xE000ED88u;
    volatile uint32_t *const configuration = (volatile uint32_t *)0xE000ED14u;
    *coprocessor_access |= 0xFu << 20; /* CP10 and CP11: the vector registers */
    *configuration |= 1u << 19;        /* LOB: low-overhead loops */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    start();
}

struct vectors {
    const uint32_t *stack_top;
    handler_t handlers[15]; /* reset, NMI, the faults and the system handlers; no interrupt is enabled */
};

extern const struct vectors vector_table;
__attribute__((section(".vectors"), used)) const struct vectors vector_table = {
    __stack_top,
    {Reset_Handler, Default_Handler, Default_Handler, Default_Handler, Default_Handler, Default_Handler, 0, 0, 0,
     0, Default_Handler, Default_Handler, 0, Default_Handler, Default_Handler},
};
