/*
 * edgekit kernels: the operators of the integer graph in C99, faster with the DSP extension (ek_pairs.h).
 *
 * Common to all of them: no allocation, no globals, no floating point; every pointer is owned by the
 * caller; results equal the reference interpreter (edgekit/graph/reference.py) bit for bit.
 * Maps are stored row by row: one row is one time step, [mel position][channel], channels innermost.
 * Right shifts of negative numbers are arithmetic on every supported compiler (checked below).
 */
#ifndef EK_KERNELS_H
#define EK_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "ek_pairs.h"

typedef char ek_right_shift_is_arithmetic[((-3) >> 1) == -2 ? 1 : -1];

/* Binary places: logarithms, weights of running averages, exponentials, pooled values. */
#define EK_LOG2_FRACTION_BITS 9
#define EK_LOG2_OF_ZERO (-32768)
#define EK_ALPHA_BITS 20
#define EK_EXP_BITS 15
#define EK_POOL_BITS 7
#define EK_WEIGHT_LIMIT_BITS 39

/* Quantization of one int8 layer; in the model, so that a retrained model runs on the same firmware. */
typedef struct {
    int32_t input_zero_point;  /* -128..127 */
    int32_t output_zero_point; /* -128..127 */
    int32_t clamp_min;         /* -128..127 */
    int32_t clamp_max;         /* clamp_min..127 */
} ek_quantization_t;

/* Weights of one convolution or fully connected layer. */
typedef struct {
    const void *weights;       /* as the kernel wants them */
    const int32_t *bias;       /* [outputs], the input's zero point folded in */
    const int32_t *multiplier; /* [outputs], 0 or 2^30..2^31-1 */
    const int8_t *shift;       /* [outputs], -31..7 */
    const ek_quantization_t *quantization;
} ek_layer_t;

/* Sizes of one convolution or pooling window over rows. */
typedef struct {
    uint16_t output_width; /* mel positions of the result */
    uint16_t channels;     /* of the input */
    uint16_t outputs;      /* channels of the result (pooling: the same) */
    uint16_t kernel_t;     /* rows of the window */
    uint16_t kernel_w;
    uint16_t stride_w;
} ek_window_t;

/* A map in memory, and how windows of rows move over it. */
typedef struct {
    uint32_t row_bytes;
    uint32_t line_bytes; /* of a row with its padding; 0: there is none, rows are read where they lie */
    uint32_t left_bytes; /* padding before a row */
    uint32_t height;
    uint16_t reach;  /* rows that a window spans */
    uint16_t gap;    /* rows from one of a window's rows to the next */
    uint16_t stride; /* rows from one window to the next */
    uint16_t top;    /* padding rows before the first */
} ek_map_t;

/* How the results of one channel are scaled. Generated code reads the first five at their places. */
typedef struct {
    uint32_t third; /* EK_THIRD */
    int32_t twice_bias;
    int32_t multiplier;
    int32_t factor; /* 2^(32 - right): the high half of a product with it is a shift to the right; where quick */
    int32_t zero_point;
    int32_t shift; /* places to the left */
    const ek_quantization_t *quantization;
    int16_t clamped; /* within int8 */
    int16_t quick;   /* shift is -31..-2 and nothing is clamped within int8 */
} ek_scale_t;

/* Results of one or two channels in a whole row: products with columns of one layer's shape, scaled. */
typedef void ek_row_t(const ek_pair_t *lanes, const ek_pair_t *weights, const ek_scale_t scales[2], int8_t *output,
                      uint32_t channels);

/* Columns that are multiplied with weights: [depth][count] pairs. */
typedef struct {
    uint32_t depth;
    uint32_t count;
    ek_row_t *row; /* or NULL: with the functions for any shape */
} ek_columns_t;

/* Points of a tile in Winograd's F(2, 3) x F(4, 3): [time][mel]. */
#define EK_TIME_POINTS 4u
#define EK_MEL_POINTS 6u
#define EK_POINTS (EK_TIME_POINTS * EK_MEL_POINTS)
#define EK_LAST_POINT (EK_POINTS - EK_MEL_POINTS) /* points before those of the last time */

/* What a Winograd convolution computes: two rows at once from four; or one from three, the two taking turns. */
typedef enum { EK_BOTH, EK_FIRST, EK_SECOND } ek_turn_t;

/* Where the results of some tiles go. */
typedef struct {
    int8_t *rows[2]; /* the second for two at once */
    uint32_t *kept;  /* between two turns */
    uint32_t count;  /* of a row, at most four to a tile */
} ek_results_t;

/* Sums of products of channels with some tiles at points, written behind each point's lanes. */
typedef void ek_tile_products_t(ek_pair_t *lanes, const ek_pair_t *weights, uint32_t points);

/* Tiles at their points; see ek_winograd_input. */
typedef void ek_tile_input_t(const int8_t *const *rows, size_t first, ek_pair_t *points);

/* Outputs of one channel from its sums; see ek_winograd_output. */
typedef void ek_tile_output_t(const ek_pair_t *sums, const ek_scale_t *scale, const ek_results_t *results);

/* What multiplies three tiles at a time, or four. */
typedef struct {
    ek_tile_products_t *two; /* two channels; one */
    ek_tile_products_t *one;
    ek_tile_input_t *input[3]; /* by turn */
    ek_tile_output_t *output[3];
} ek_tile_functions_t;

/* Tiles of a row. */
typedef struct {
    uint16_t depth; /* pairs of channels */
    uint16_t count; /* fours + a multiple of three */
    uint16_t fours; /* how many of them are taken four at a time */
    const ek_tile_functions_t *four;
    const ek_tile_functions_t *three;
} ek_tiles_t;

/* Sums of products of inputs with four rows of weights of so many words; see ek_dense_s4, ek_dense_s8. */
typedef void ek_dense_t(const ek_pair_t *lanes, const uint32_t *weights, uint32_t words, int32_t sums[4]);

/* How rows are scaled and where the results go. Generated code reads the members at their places and moves them on. */
typedef struct {
    const int32_t *bias;
    const int32_t *multiplier;
    const int8_t *shift; /* -31..-2 */
    int8_t *output;
    int32_t twice_excess; /* of the sums of the first three of four rows */
    int32_t zero_point;
} ek_rows_results_t;

/* Results of fours of rows that need no clamp within int8; see ek_dense_rows. */
typedef void ek_dense_rows_t(const ek_pair_t *lanes, const uint32_t *weights, ek_rows_results_t *results, uint32_t fours);

/* Rows of a fully connected layer. */
typedef struct {
    uint32_t words; /* of four rows */
    uint32_t pairs; /* of inputs */
    int32_t offset; /* added to each weight of the first three of four rows */
    ek_dense_t *sums;
    ek_dense_rows_t *rows;
} ek_rows_t;

/* Sums of products of one channel of a depthwise convolution's shape at four positions. */
typedef void ek_depthwise_t(const ek_pair_t *const *rows, const ek_pair_t *weights, int32_t sums[4]);

/* A depthwise convolution, rows of its input paired two by two. */
typedef struct {
    uint16_t rows;      /* of the result */
    uint16_t width;     /* of the input */
    uint16_t left;      /* padding before a row */
    uint16_t pairs;     /* of a window's rows */
    uint16_t row_step;  /* rows from one pair that is made to the next */
    uint16_t slots;     /* pairs of rows that are kept */
    uint16_t slot_step; /* from one of a window's pairs to the next */
    uint32_t positions; /* of a row of pairs, padding included */
    ek_depthwise_t *four;
} ek_taps_t;

/* How results of an operator on values are scaled; in the model. */
typedef struct {
    int32_t multiplier; /* 0..2^31-1 */
    int32_t shift;      /* -31..7 */
    int32_t zero_point;
    int32_t clamp_min; /* -128..127 */
    int32_t clamp_max; /* clamp_min..127 */
} ek_output_t;

/* A sum of two tensors; in the model. */
typedef struct {
    int32_t zero_point[2];
    int32_t multiplier[2]; /* 0 or 2^30..2^31-1 */
    int32_t shift[2];      /* -31..0 */
    int32_t left_shift;    /* 0..20 */
    ek_output_t output;
} ek_add_t;

/* A product of two tensors; in the model. */
typedef struct {
    int32_t zero_point[2];
    ek_output_t output;
} ek_mul_t;

/* A mean over a map; in the model. */
typedef struct {
    int32_t zero_point;
    ek_output_t output;
} ek_mean_t;

/* Scales of second-order pooling: of the values and of their products; in the model. */
typedef struct {
    int32_t multiplier[2]; /* 0..2^31-1 */
    int32_t shift[2];      /* -31..14 */
} ek_second_order_t;

/* A way over a tensor of four axes, outermost first: bytes from one value of each input to the next. */
typedef struct {
    uint32_t size[4];
    uint32_t step[2][4];
} ek_pass_t;

/* What is put around a map. */
typedef struct {
    uint32_t left_bytes;
    uint32_t right_bytes;
    uint16_t top;
    uint16_t bottom;
} ek_border_t;

/* Average pooling of a map. */
typedef struct {
    uint16_t height, width, channels;
    uint16_t output_height, output_width;
    uint16_t kernel_t, kernel_w;
    uint16_t stride_t, stride_w;
    uint16_t top, left;
} ek_average_t;

/* Rows that wait for a window to fill: a ring of kernel_t rows, of which `next` is written next. */
typedef struct {
    uint8_t next;
    uint8_t missing; /* rows until the next window is complete */
} ek_ring_t;

/* Level normalisation of log-mels; in the model. */
typedef struct {
    int32_t offset_q9;
    int32_t floor_q9;
    int32_t multiplier;
    int32_t shift;
    int32_t output_zero_point;
} ek_normalization_t;

/* Rows of a way over a tensor: of values along its last axis. */
static inline uint32_t ek_rows_of(const ek_pass_t *pass)
{
    return pass->size[0] * pass->size[1] * pass->size[2];
}

/* Bytes before a row of one of the inputs. */
static inline size_t ek_row_of(const ek_pass_t *pass, uint32_t side, uint32_t row)
{
    const uint32_t *step = pass->step[side];
    const uint32_t outer = row / pass->size[2];
    return (size_t)(outer / pass->size[1]) * step[0] + (size_t)(outer % pass->size[1]) * step[1]
           + (size_t)(row % pass->size[2]) * step[2];
}

/* A scaled value moved to the zero point and clamped. */
static inline int8_t ek_clamped_s8(int32_t value, const ek_output_t *output)
{
    value += output->zero_point;
    value = value < output->clamp_min ? output->clamp_min : value;
    return (int8_t)(value > output->clamp_max ? output->clamp_max : value);
}

int32_t ek_requantize(int32_t accumulator, int32_t multiplier, int32_t shift);
/* All bins of a folded power spectrum; see ek_spectrum_bins. */
typedef void ek_bins_t(const ek_pair_t *pairs, const ek_pair_t *basis, uint64_t *power);

int32_t ek_log2_q9(uint64_t value, const uint16_t *table);
int64_t ek_running_average(int64_t average, int64_t value, uint32_t count);
int64_t ek_new_samples_mean_q8(const int16_t *samples, uint32_t count, int square);

void ek_frame_s16(const int16_t *window, uint32_t n_fft, int32_t mean_q8, int16_t *frame);
void ek_power_spectrum(const int16_t *frame, const ek_pair_t *basis, uint32_t n_fft, uint32_t shift_bits,
                       uint64_t *power);
void ek_folded_spectrum(const int16_t *frame, const ek_pair_t *basis, uint32_t n_fft, ek_bins_t *bins, ek_pair_t *pairs,
                        uint64_t *power);
void ek_spectrum_bins(const ek_pair_t *pairs, const ek_pair_t *basis, uint32_t n_fft, uint32_t shift_bits,
                      uint64_t *power);
void ek_mel_filter(const uint64_t *power, const uint8_t *first_bin, const uint8_t *bin_count,
                   const uint16_t *weights, uint32_t bands, uint64_t *mel);
void ek_level_normalize(const int16_t *log_mel, int32_t level_q9, const ek_normalization_t *normalization,
                        uint32_t bands, int8_t *output);

int ek_ring_push(ek_ring_t *ring, uint8_t rows, uint8_t stride);
void ek_conv2d_s8(const int8_t *const *rows, const ek_window_t *window, const ek_columns_t *columns,
                  const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output);
void ek_products(const ek_pair_t *lanes, const ek_pair_t *weights, uint32_t depth, uint32_t count, uint32_t width,
                 int32_t *sums);
void ek_winograd_input(const int8_t *const *rows, size_t first, ek_turn_t turn, uint32_t channels, uint32_t tiles,
                       uint32_t stride, ek_pair_t *points);
void ek_winograd_products(ek_pair_t *lanes, const ek_pair_t *weights, uint32_t points, uint32_t depth,
                          uint32_t tiles);
void ek_winograd_output(const ek_pair_t *sums, uint32_t stride, ek_turn_t turn, const ek_scale_t *scale,
                        uint32_t step, const ek_results_t *results);
void ek_conv2d_winograd_s8(const int8_t *const *rows, ek_turn_t turn, const ek_window_t *window, const ek_tiles_t *tiles,
                           const ek_layer_t *layer, ek_pair_t *lanes, ek_results_t *results);
void ek_max_pool2d_s8(const int8_t *const *rows, const ek_window_t *window, int8_t *largest, int8_t *output);
int32_t ek_expand_s8(const int8_t *input, uint32_t inputs, uint32_t pairs, ek_pair_t *lanes);
void ek_dense_s4(const ek_pair_t *lanes, const uint32_t *weights, uint32_t words, int32_t sums[4]);
void ek_dense_s8(const ek_pair_t *lanes, const uint32_t *weights, uint32_t words, int32_t sums[4]);
void ek_dense_rows(const ek_pair_t *lanes, const uint32_t *weights, uint32_t words, ek_dense_t *sums_of_four,
                   ek_rows_results_t *results, uint32_t fours);
void ek_fully_connected(const int8_t *input, uint32_t inputs, uint32_t outputs, const ek_rows_t *rows,
                        const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output);
void ek_patches_s8(const int8_t *const *rows, const ek_window_t *window, int8_t *patches);
void ek_products_mve(const int8_t *patches, uint32_t step, const int8_t *weights, uint32_t vectors, uint32_t count,
                     int32_t *sums);
void ek_scale_row_mve(const int32_t *sums, const ek_layer_t *layer, uint32_t channel, uint32_t width, uint32_t step,
                      int8_t *output);
void ek_conv2d_mve_s8(const int8_t *const *rows, const ek_window_t *window, const ek_columns_t *columns,
                      const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output);
void ek_depthwise_conv2d_mve_s8(const int8_t *const *rows, const ek_window_t *window, const ek_layer_t *layer,
                                int8_t *output);
void ek_fully_connected_mve_s8(const int8_t *input, uint32_t inputs, uint32_t outputs, const ek_rows_t *rows,
                               const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output);
void ek_fully_connected_mve_s4(const int8_t *input, uint32_t inputs, uint32_t outputs, const ek_rows_t *rows,
                               const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output);
void ek_window_rows(const int8_t *map, const ek_map_t *geometry, uint32_t position, int8_t fill, int8_t *lines,
                    const int8_t **rows);
void ek_pair_rows(const int8_t *upper, uint32_t upper_step, const int8_t *lower, uint32_t lower_step,
                  uint32_t count, uint32_t positions, uint32_t step, ek_pair_t *lanes);
void ek_depthwise_conv2d_s8(const int8_t *input, const ek_map_t *map, const ek_window_t *window,
                            const ek_taps_t *taps, const ek_layer_t *layer, ek_pair_t *lanes,
                            const ek_pair_t **rows, int8_t *output);
void ek_depthwise_products(const ek_pair_t *const *rows, const ek_pair_t *weights, uint32_t pairs, uint32_t kernel_w,
                           uint32_t stride, int32_t sums[4]);
void ek_average_pool2d_s8(const int8_t *input, const ek_average_t *pool, const int32_t clamp[2], int8_t *output);
void ek_mean_s8(const int8_t *input, uint32_t positions, uint32_t channels, const ek_mean_t *mean, int8_t *output);
void ek_add_s8(const ek_pass_t *pass, const ek_add_t *sum, const int8_t *x, const int8_t *y, int8_t *output);
void ek_mul_s8(const ek_pass_t *pass, const ek_mul_t *product, const int8_t *x, const int8_t *y, int8_t *output);
void ek_lookup_s8(const int8_t *input, uint32_t count, const int8_t *table, int8_t *output);
void ek_softmax_s8(const int8_t *input, uint32_t count, const int32_t *exponentials, int8_t *output);
void ek_transpose_s8(const ek_pass_t *pass, const int8_t *input, int8_t *output);
void ek_pad_s8(const int8_t *input, uint32_t height, uint32_t row_bytes, const ek_border_t *border, int8_t fill,
               int8_t *output);
void ek_second_order_s16(const int16_t *input, uint32_t maps, uint32_t channels, const ek_second_order_t *order,
                         int16_t *output);
void ek_fully_connected_once(const int8_t *input, uint32_t inputs, uint32_t outputs, const ek_rows_t *rows,
                             const ek_layer_t *layer, ek_pair_t *lanes, int8_t *output);
void ek_attention_update(const int8_t *value, const int8_t *score, const uint16_t *exp_table,
                         int32_t value_zero_point, uint32_t features, int8_t *maximum, int64_t *numerator,
                         uint32_t *denominator, uint8_t *above);
void ek_attention_read(const int64_t *numerator, const uint32_t *denominator, const uint8_t *above, uint32_t features,
                       int16_t *pooled);
void ek_fully_connected_s16(const int16_t *input, uint32_t pairs, uint32_t outputs, const ek_layer_t *layer,
                            int16_t *output);

#endif
