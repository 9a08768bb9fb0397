/* Philox4x64-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011), as numpy has it: the counter
   goes up before each block of four words. */

static void philox_block(const uint64_t key[2], const uint64_t counter[4], uint64_t *out) {
    uint64_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        unsigned __int128 a = (unsigned __int128)0xD2E7470EE14C6C93u * c0, b = (unsigned __int128)0xCA5A826395121157u * c2;
        c0 = (uint64_t)(b >> 64) ^ c1 ^ k0;
        c1 = (uint64_t)b;
        c2 = (uint64_t)(a >> 64) ^ c3 ^ k1;
        c3 = (uint64_t)a;
        k0 += 0x9E3779B97F4A7C15u;
        k1 += 0xBB67AE8584CAA73Bu;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

typedef struct { uint64_t key[2], step, epoch; i64 first, blocks; uint64_t *out; } Words;

static int philox_part(const void *call, i64 part, i64 parts) {
    const Words *of = call;
    for (i64 i = of->blocks * part / parts; i < of->blocks * (part + 1) / parts; i++) {
        uint64_t counter[4] = {(uint64_t)(of->first + i + 1), of->step, of->epoch, 0};
        philox_block(of->key, counter, of->out + 4 * i);
    }
    return 0;
}

/* The words of blocks `first` ... `first + blocks`; see random.py for what key and counter are. */
EXPORT void philox(uint64_t seed, uint64_t label, i64 first, uint64_t step, uint64_t epoch, i64 blocks, uint64_t *out,
                   i64 threads) {
    together(threads, philox_part, &(Words){{seed, label}, step, epoch, first, blocks, out});
}
