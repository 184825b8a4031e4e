/* Vector table and reset of a Cortex-M core; firmware.ld defines the symbols. */
#include <stdint.h>

typedef void (*handler_t)(void);

extern uint32_t __data_load[], __data_start[], __data_end[], __bss_start[], __bss_end[], __stack_limit[], __stack_top[];
extern uint8_t __flash_start[], __flash_last[], __ram_start[], __ram_last[];

int main(void);
void Reset_Handler(void) __attribute__((noreturn));
void Default_Handler(void) __attribute__((noreturn));

#define CORE_REGISTER(offset) (*(volatile uint32_t *)(uintptr_t)(0xE000E000u + (offset)))
#define CONFIGURATION CORE_REGISTER(0xD14u)
#define COPROCESSOR_ACCESS CORE_REGISTER(0xD88u)
#define PROTECTION CORE_REGISTER(0xD94u)
#define REGION_NUMBER CORE_REGISTER(0xD98u)
#define REGION_BASE CORE_REGISTER(0xD9Cu)
#define REGION_LIMIT CORE_REGISTER(0xDA0u)
#define MEMORY_ATTRIBUTES CORE_REGISTER(0xDC0u)

#define DIVISION_BY_ZERO_FAULTS (1u << 4)
#define LOW_OVERHEAD_LOOPS (1u << 19)
#define VECTOR_REGISTERS (0xFu << 20)
#define READ_WRITE_NO_CODE 0x3u
#define READ_ONLY_CODE 0x6u

/* Call stacks end here: nobody has called the reset. 14 is the link register. */
#if defined(__arm__) && defined(__GCC_HAVE_DWARF2_CFI_ASM)
#define OUTERMOST_FRAME __asm__ volatile(".cfi_undefined 14")
#else
#define OUTERMOST_FRAME (void)0
#endif

void Default_Handler(void)
{
    for (;;) {
    }
}

/* audio.c has it; a program without it enables no interrupt. */
void audio_interrupt(void) __attribute__((weak, noreturn, alias("Default_Handler")));
/* So does update.c. */
void serial_interrupt(void) __attribute__((weak, noreturn, alias("Default_Handler")));

/* Apart from the reset: it may use vectors and low-overhead loops, which the reset switches on. */
__attribute__((noinline, noreturn)) static void start(void)
{
    OUTERMOST_FRAME;
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

#if defined(__ARM_FEATURE_MVE)
static void allow(uint32_t region, const uint8_t *first, const uint8_t *last, uint32_t access)
{
    REGION_NUMBER = region;
    REGION_BASE = (uint32_t)(uintptr_t)first | access;
    REGION_LIMIT = ((uint32_t)(uintptr_t)last & ~31u) | 1u;
}

/* The code lies in RAM here (tightly coupled memory): nothing but this keeps a wrong pointer from changing it. */
static void protect(void)
{
    MEMORY_ATTRIBUTES = 0x44u; /* normal memory, not cached */
    allow(0, __flash_start, __flash_last, READ_ONLY_CODE);
    allow(1, __ram_start, __ram_last, READ_WRITE_NO_CODE);
    PROTECTION = 1u;
}
#endif

void Reset_Handler(void)
{
    OUTERMOST_FRAME;
#if defined(__ARM_ARCH_8M_MAIN__) || defined(__ARM_ARCH_8_1M_MAIN__)
    /* Elsewhere a stack that overflows leaves the RAM, which faults too. */
    __asm__ volatile("msr msplim, %0" ::"r"(__stack_limit));
#endif
#if defined(__ARM_FEATURE_IDIV)
    CONFIGURATION |= DIVISION_BY_ZERO_FAULTS;
#endif
#if defined(__ARM_FEATURE_MVE)
    COPROCESSOR_ACCESS |= VECTOR_REGISTERS;
    CONFIGURATION |= LOW_OVERHEAD_LOOPS;
    protect();
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    start();
}

struct vectors {
    const uint32_t *stack_top;
    handler_t handlers[17]; /* reset, NMI, the faults and the system handlers, and two interrupts */
};

extern const struct vectors vector_table;
__attribute__((section(".vectors"), used)) const struct vectors vector_table = {
    __stack_top,
    {Reset_Handler, Default_Handler, Default_Handler, Default_Handler, Default_Handler, Default_Handler, 0, 0, 0,
     0, Default_Handler, Default_Handler, 0, Default_Handler, Default_Handler, audio_interrupt,
     serial_interrupt},
};
