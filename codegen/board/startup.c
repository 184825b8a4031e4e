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

void Reset_Handler(void)
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
