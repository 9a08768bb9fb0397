/* The kernels: each with its arguments in order, and nowhere else. Who includes this file says what a KERNEL becomes:
   kernels.h makes the type of the exported tables of it, kernels.inc the prototypes and the tables, library.c the replay's
   switch and the text from which compiled.py knows how to call a kernel.

   READ, WRITTEN, CHANGED: an array. WINDOW: the struct of kernels.h. NUMBER: the same number whenever a call is replayed.
   SCALAR: a number of the step, which is another one in each replay. THREADS: how many threads may share the call; last.
   MAY_FAIL: returns 0, or 1 where the kernel could not do its work, because memory is short or an index is out of range. */

KERNEL(conv, MAY_FAIL, WINDOW(window), NUMBER(i64, examples), READ(float, x), READ(float, w), READ(float, bias),
       NUMBER(int, activation), WRITTEN(float, y), THREADS(threads))
KERNEL(conv_grad, MAY_FAIL, WINDOW(window), NUMBER(i64, examples), READ(float, g), READ(float, x), READ(float, w),
       NUMBER(int, activation), READ(float, y), WRITTEN(float, dx), WRITTEN(float, dw), WRITTEN(float, db), THREADS(threads))
KERNEL(conv_transpose, MAY_FAIL, WINDOW(window), NUMBER(i64, examples), READ(float, x), READ(float, w), READ(float, bias),
       NUMBER(int, activation), WRITTEN(float, y), THREADS(threads))
KERNEL(dense, MAY_FAIL, NUMBER(i64, examples), NUMBER(i64, inputs), NUMBER(i64, outputs), READ(float, x), READ(float, w),
       READ(float, bias), NUMBER(int, activation), WRITTEN(float, y), THREADS(threads))
KERNEL(dense_grad, MAY_FAIL, NUMBER(i64, examples), NUMBER(i64, inputs), NUMBER(i64, outputs), READ(float, g), READ(float, x),
       READ(float, w), NUMBER(int, activation), READ(float, y), WRITTEN(float, dx), WRITTEN(float, dw), WRITTEN(float, db),
       THREADS(threads))
KERNEL(max_pool, MAY_FAIL, WINDOW(window), NUMBER(i64, examples), READ(float, x), WRITTEN(float, y), THREADS(threads))
KERNEL(max_pool_grad, MAY_FAIL, WINDOW(window), NUMBER(i64, examples), READ(float, g), READ(float, x), READ(float, y),
       WRITTEN(float, dx), THREADS(threads))
KERNEL(average_pool, MAY_FAIL, WINDOW(window), NUMBER(i64, examples), READ(float, x), WRITTEN(float, y), THREADS(threads))
KERNEL(average_pool_grad, MAY_FAIL, WINDOW(window), NUMBER(i64, examples), READ(float, g), WRITTEN(float, dx),
       THREADS(threads))
KERNEL(standardise, MAY_FAIL, NUMBER(i64, examples), NUMBER(i64, rows), NUMBER(i64, channels), NUMBER(i64, groups),
       READ(float, x), READ(float, scale), READ(float, shift), NUMBER(double, epsilon), WRITTEN(float, y), WRITTEN(float, mean),
       WRITTEN(float, variance), THREADS(threads))
KERNEL(standardise_grad, MAY_FAIL, NUMBER(i64, examples), NUMBER(i64, rows), NUMBER(i64, channels), NUMBER(i64, groups),
       READ(float, g), READ(float, x), READ(float, scale), READ(float, mean), READ(float, variance), NUMBER(double, epsilon),
       WRITTEN(float, dx), WRITTEN(float, dscale), WRITTEN(float, dshift), THREADS(threads))
KERNEL(activate, NEVER_FAILS, NUMBER(int, activation), NUMBER(float, slope), NUMBER(i64, size), READ(float, x),
       WRITTEN(float, y), THREADS(threads))
KERNEL(activate_grad, NEVER_FAILS, NUMBER(int, activation), NUMBER(float, slope), NUMBER(i64, size), READ(float, g),
       READ(float, y), WRITTEN(float, dx), THREADS(threads))
KERNEL(combine, NEVER_FAILS, NUMBER(int, operation), NUMBER(i64, outer), NUMBER(i64, middle), NUMBER(i64, inner),
       READ(float, a), NUMBER(i64, a_outer), NUMBER(i64, a_middle), NUMBER(i64, a_inner),
       READ(float, b), NUMBER(i64, b_outer), NUMBER(i64, b_middle), NUMBER(i64, b_inner), WRITTEN(float, y), THREADS(threads))
KERNEL(assign, NEVER_FAILS, READ(i64, geometry), READ(float, x), WRITTEN(float, y), THREADS(threads))
KERNEL(sum_middle, NEVER_FAILS, NUMBER(i64, outer), NUMBER(i64, middle), NUMBER(i64, inner), READ(float, x),
       NUMBER(i64, count), WRITTEN(float, y), THREADS(threads))
KERNEL(count_right, NEVER_FAILS, NUMBER(i64, examples), NUMBER(i64, classes), READ(float, logits), READ(i64, targets),
       WRITTEN(i64, count))
KERNEL(square_sum, NEVER_FAILS, NUMBER(i64, size), READ(float, x), WRITTEN(double, total), THREADS(threads))
KERNEL(observe, MAY_FAIL, NUMBER(i64, examples), NUMBER(i64, rows), NUMBER(i64, columns), READ(float, x),
       NUMBER(float, center), NUMBER(float, limit), WRITTEN(float, sums), WRITTEN(double, squares), WRITTEN(double, beyond),
       THREADS(threads))
KERNEL(tally, NEVER_FAILS, NUMBER(i64, layers), READ(Observed, observed), CHANGED(uint8_t, alive), CHANGED(double, totals))
KERNEL(dropout, NEVER_FAILS, NUMBER(i64, rows), NUMBER(i64, columns), READ(float, x), READ(uint16_t, bits),
       NUMBER(i64, bits_row), NUMBER(int, threshold), NUMBER(float, scale), WRITTEN(float, y))
KERNEL(normalise, MAY_FAIL, NUMBER(i64, rows), NUMBER(i64, columns), NUMBER(i64, size), READ(uint8_t, images),
       READ(i64, index), READ(float, scale), READ(float, shift), WRITTEN(float, y))
KERNEL(cross_entropy, MAY_FAIL, NUMBER(i64, examples), NUMBER(i64, classes), READ(float, logits), READ(i64, targets),
       NUMBER(double, smoothing), NUMBER(i64, count), WRITTEN(float, loss), WRITTEN(float, dx), THREADS(threads))
KERNEL(number_loss, NEVER_FAILS, NUMBER(int, kind), NUMBER(i64, size), READ(float, prediction), READ(float, targets),
       NUMBER(i64, target_step), NUMBER(double, scale), NUMBER(float, delta), WRITTEN(float, loss), WRITTEN(float, dx))
KERNEL(gelu, NEVER_FAILS, NUMBER(int, approximate), NUMBER(i64, size), READ(float, x), WRITTEN(float, y),
       WRITTEN(float, slope), THREADS(threads))
KERNEL(embedding, MAY_FAIL, NUMBER(i64, count), NUMBER(i64, rows), NUMBER(i64, width), READ(float, table), READ(float, tokens),
       WRITTEN(float, y))
KERNEL(embedding_grad, NEVER_FAILS, NUMBER(i64, count), NUMBER(i64, rows), NUMBER(i64, width), READ(float, g),
       READ(float, tokens), WRITTEN(float, dtable))
KERNEL(recurrent, MAY_FAIL, NUMBER(int, kind), NUMBER(i64, examples), NUMBER(i64, positions), NUMBER(i64, channels),
       NUMBER(i64, units), READ(float, x), READ(float, w), READ(float, u), READ(float, b), READ(float, c), READ(float, start),
       READ(float, cell), WRITTEN(float, y), WRITTEN(float, cells), WRITTEN(float, gates), THREADS(threads))
KERNEL(recurrent_grad, MAY_FAIL, NUMBER(int, kind), NUMBER(i64, examples), NUMBER(i64, positions), NUMBER(i64, channels),
       NUMBER(i64, units), READ(float, g), READ(float, g_cells), READ(float, x), READ(float, w), READ(float, u),
       READ(float, start), READ(float, cell), READ(float, y), READ(float, cells), READ(float, gates), WRITTEN(float, dx),
       WRITTEN(float, dw), WRITTEN(float, du), WRITTEN(float, db), WRITTEN(float, dc), WRITTEN(float, dstart),
       WRITTEN(float, dcell), THREADS(threads))
KERNEL(attention, MAY_FAIL, NUMBER(i64, examples), NUMBER(i64, queries), NUMBER(i64, keys), NUMBER(i64, channels),
       NUMBER(i64, width), NUMBER(i64, heads), NUMBER(int, causal), READ(float, q), NUMBER(i64, q_row), READ(float, k),
       NUMBER(i64, k_row), READ(float, v), NUMBER(i64, v_row), READ(i64, lengths), WRITTEN(float, y), WRITTEN(float, weights),
       THREADS(threads))
KERNEL(attention_grad, MAY_FAIL, NUMBER(i64, examples), NUMBER(i64, queries), NUMBER(i64, keys), NUMBER(i64, channels),
       NUMBER(i64, width), NUMBER(i64, heads), READ(float, g), READ(float, q), NUMBER(i64, q_row), READ(float, k),
       NUMBER(i64, k_row), READ(float, v), NUMBER(i64, v_row), READ(float, weights), WRITTEN(float, dq), WRITTEN(float, dk),
       WRITTEN(float, dv), THREADS(threads))
KERNEL(sgd, NEVER_FAILS, NUMBER(i64, size), CHANGED(float, w), READ(float, g), SCALAR(double, lr), THREADS(threads))
KERNEL(momentum, NEVER_FAILS, NUMBER(i64, size), CHANGED(float, w), READ(float, g), CHANGED(float, v),
       NUMBER(float, momentum), SCALAR(double, lr), THREADS(threads))
KERNEL(nesterov, NEVER_FAILS, NUMBER(i64, size), CHANGED(float, w), READ(float, g), CHANGED(float, v),
       NUMBER(float, momentum), SCALAR(double, lr), THREADS(threads))
KERNEL(adam, NEVER_FAILS, NUMBER(i64, size), CHANGED(float, w), READ(float, g), CHANGED(float, m), CHANGED(float, v),
       NUMBER(double, beta1), NUMBER(double, beta2), SCALAR(double, lr), SCALAR(uint64_t, step), NUMBER(float, epsilon),
       THREADS(threads))
KERNEL(philox, NEVER_FAILS, NUMBER(uint64_t, seed), NUMBER(uint64_t, stream), NUMBER(i64, first), SCALAR(uint64_t, step),
       SCALAR(uint64_t, epoch), NUMBER(i64, blocks), WRITTEN(uint64_t, words), THREADS(threads))

#undef KERNEL
