/* The shapes of a convolution or a pooling, and memory. Filled in by Python; fewer than 3 dimensions begin with 1s. */

typedef struct {
    i64 channels, filters, groups;                        /* C, K, G */
    i64 in[3], out[3];                                    /* sizes */
    i64 kernel[3], stride[3], dilation[3];
    i64 before[3], after[3];                              /* padding */
} Window;

static i64 product3(const i64 *a) { return a[0] * a[1] * a[2]; }

static i64 extent(const Window *s, int d) { return (s->kernel[d] - 1) * s->dilation[d] + 1; }

/* Memory on the boundary of a cache line, so that no vector of a packed panel lies across two lines. */
static float *floats(i64 count) {
    return aligned_alloc(64, ((size_t)count * sizeof(float) / 64 + 1) * 64);
}

/* A picture with room around it and between its points, in which a window may slide without looking where it is. */
typedef struct {
    i64 size[3];                                          /* of the canvas */
    i64 start[3], step[3];                                /* where the picture's points lie on it */
} Canvas;

/* The canvas of an input: the picture and its padding. */
static Canvas padded(const Window *s) {
    Canvas c;
    for (int d = 0; d < 3; d++) {
        c.size[d] = s->before[d] + s->in[d] + s->after[d];
        c.start[d] = s->before[d];
        c.step[d] = 1;
    }
    return c;
}

/* The canvas of an output's gradient: a window of stride 1 over it, with the kernel reversed, gives the input's
   gradient. Between the points lie stride - 1 zeros, around them as many as the kernel reaches. */
static Canvas spread(const Window *s) {
    Canvas c;
    for (int d = 0; d < 3; d++) {
        c.start[d] = extent(s, d) - 1 - s->before[d];
        c.step[d] = s->stride[d];
        c.size[d] = s->in[d] + extent(s, d) - 1;
    }
    return c;
}

/* Where the taps of a kernel lie. A tap is a stretch of the input that meets consecutive rows of the weights: a whole
   row of the kernel where its points lie side by side, else the channels of a group at one point. */
typedef struct { i64 count, run; } Taps;

static Taps taps_of(const Window *s, i64 channels) {
    Taps t = {product3(s->kernel), channels / s->groups};
    if (s->groups == 1 && s->dilation[2] == 1) t = (Taps){s->kernel[0] * s->kernel[1], s->kernel[2] * channels};
    return t;
}

/* The offset of each tap from the window's first point on a canvas of this many channels. */
static void tap_offsets(const Window *s, const i64 *size, i64 channels, i64 taps, i64 *offset) {
    i64 columns = taps == product3(s->kernel) ? s->kernel[2] : 1, t = 0;
    for (i64 d = 0; d < s->kernel[0]; d++)
        for (i64 h = 0; h < s->kernel[1]; h++)
            for (i64 w = 0; w < columns; w++)
                offset[t++] = ((d * s->dilation[0] * size[1] + h * s->dilation[1]) * size[2] + w * s->dilation[2]) * channels;
}
