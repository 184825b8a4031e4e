/* A kernel that is handed a pointer to nowhere. */
#include "board.h"
#include "ek_kernels.h"

int main(void);
int32_t outer(const int8_t *patches);

static int16_t block[64];
static int8_t weights[32];

__attribute__((noinline)) int32_t outer(const int8_t *patches)
{
    int32_t sums[6];
    ek_products_mve(patches, 16, weights, 1, 3, sums);
    return sums[0] + 1;
}

int main(void)
{
    int32_t sum = 0;
    while (board_read_audio(block, 64) > 0) {
        sum += outer((const int8_t *)0x0F000000u);
    }
    board_exit((int)sum);
}
