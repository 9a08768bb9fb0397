// The words of random.example_words on a GPU: numpy's Philox4x64-10, bit for bit.
// Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011. numpy counts up before each block of 4 words.

typedef unsigned long long u64;

// words: (examples, each), examples * blocks threads at least, blocks = each / 4 rounded up; a thread makes one block.
extern "C" __global__ void example_words(u64 seed, u64 label, u64 first_block, u64 step, u64 epoch, u64 examples,
                                         u64 blocks, u64 each, u64 *words)
{
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= examples * blocks) return;
    u64 a = first_block + i + 1, b = step, c = epoch, d = 0;
    for (int round = 0; round < 10; ++round) {
        u64 high_a = __umul64hi(0xD2E7470EE14C6C93ull, a), low_a = 0xD2E7470EE14C6C93ull * a;
        u64 high_c = __umul64hi(0xCA5A826395121157ull, c), low_c = 0xCA5A826395121157ull * c;
        a = high_c ^ b ^ seed, b = low_c, c = high_a ^ d ^ label, d = low_a;
        seed += 0x9E3779B97F4A7C15ull, label += 0xBB67AE8584CAA73Bull;
    }
    u64 word[4] = {a, b, c, d}, at = i % blocks * 4;
    for (u64 k = 0; k < 4 && at + k < each; ++k) words[i / blocks * each + at + k] = word[k];
}
