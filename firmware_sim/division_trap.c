/*
 * Stops the core at a division by zero, as silicon does once the firmware has set DIV_0_TRP; unicorn divides on.
 * It is called in front of division instructions alone, so that all others cost nothing.
 */
#include <stdint.h>

#define DIV_0_TRP (1u << 4)

typedef struct {
    const uint32_t *configuration; /* the firmware's Configuration and Control Register */
    int (*read_register)(void *engine, int number, void *value);
    int (*stop)(void *engine);
    uint32_t trapped;
} trap_t;

typedef struct {
    trap_t *trap;
    int divisor; /* the simulator's number of the register */
} division_t;

void edgekit_check_division(void *engine, uint64_t address, uint32_t size, void *user);

void edgekit_check_division(void *engine, uint64_t address, uint32_t size, void *user)
{
    const division_t *division = user;
    trap_t *trap = division->trap;
    uint32_t divisor = 0;
    (void)address;
    (void)size;
    (void)trap->read_register(engine, division->divisor, &divisor);
    if (divisor == 0u && (*trap->configuration & DIV_0_TRP) != 0u) {
        trap->trapped = 1;
        (void)trap->stop(engine);
    }
}
