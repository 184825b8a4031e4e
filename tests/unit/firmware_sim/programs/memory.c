/* Exercises the firmware's memory functions: each result counts differences to what they should do. */
#include "board.h"

#include <string.h>
#undef memcpy
#undef memmove
#undef memset

int main(void);

static int16_t block[64];
static unsigned char buffer[80], expected[80];

static unsigned char pattern(size_t i) { return (unsigned char)(i * 37u + 11u); }

static void fill(void)
{
    for (size_t i = 0; i < sizeof buffer; i++) {
        ((volatile unsigned char *)buffer)[i] = pattern(i);
        ((volatile unsigned char *)expected)[i] = pattern(i);
    }
}

static int16_t differences(void)
{
    int16_t count = 0;
    for (size_t i = 0; i < sizeof buffer; i++) {
        count = (int16_t)(count + (buffer[i] != expected[i]));
    }
    return count;
}

static int16_t try_copy(size_t to, size_t from, size_t n)
{
    fill();
    for (size_t i = 0; i < n; i++) {
        ((volatile unsigned char *)expected)[to + i] = pattern(from + i);
    }
    if (memmove(buffer + to, buffer + from, n) != buffer + to) {
        return 1;
    }
    int16_t wrong = differences();
    if (to + n <= from || from + n <= to) {
        fill();
        for (size_t i = 0; i < n; i++) {
            ((volatile unsigned char *)expected)[to + i] = pattern(from + i);
        }
        (void)memcpy(buffer + to, buffer + from, n);
        wrong = (int16_t)(wrong + differences());
    }
    return wrong;
}

static int16_t try_set(size_t to, size_t n)
{
    fill();
    for (size_t i = 0; i < n; i++) {
        ((volatile unsigned char *)expected)[to + i] = 0xC3;
    }
    (void)memset(buffer + to, -61, n);
    return differences();
}

int main(void)
{
    int16_t wrong[3] = {0, 0, 0};
    for (size_t i = 0; i < sizeof buffer; i++) {
        wrong[2] = (int16_t)(wrong[2] + (buffer[i] != 0)); /* start-up clears variables */
    }
    for (size_t to = 0; to < 9; to++) {
        for (size_t n = 0; n < 32; n++) {
            for (size_t from = 0; from < 9; from++) {
                wrong[0] = (int16_t)(wrong[0] + try_copy(to, from, n) + try_copy(to, from + 40, n));
            }
            wrong[1] = (int16_t)(wrong[1] + try_set(to, n));
        }
    }
    fill();
    wrong[2] = (int16_t)(wrong[2] + (memcmp(buffer, expected, 80) != 0));
    buffer[79]++;
    wrong[2] = (int16_t)(wrong[2] + (memcmp(buffer, expected, 80) <= 0) + (memcmp(expected, buffer, 80) >= 0));
    while (board_read_audio(block, 64) > 0) {
    }
    board_write_adv(wrong);
    board_exit(0);
}
