// Draws the faces of the data set `faces` as SVG, one JSON object a line; pack.py makes the file in the package of them.
//   npm install @dicebear/core@9.4.3 @dicebear/pixel-art@9.4.3 && node draw.mjs > faces.jsonl
// Design: "Pixel Art", CC0 1.0, https://www.dicebear.com/styles/pixel-art/
import { createAvatar } from '@dicebear/core';
import * as pixelArt from '@dicebear/pixel-art';

const PARTS = {
  skinColor: ['999999'], hairColor: ['ff0000'], clothingColor: ['00ff00'], eyesColor: ['0000ff'],
  mouthColor: ['ffff00'], glassesColor: ['00ffff'], hatColor: ['ff00ff'], accessoriesColor: ['000000'],
};
const SETS = [  // name, how many, letter before the seeds, options
  ['all', 6000, '', {}],
  ['bare', 5000, 's', { hatProbability: 0, glassesProbability: 0 }],
  ['with_glasses', 5000, 's', { hatProbability: 0, glassesProbability: 100 }],
  ['painted', 4000, 'p', { hatProbability: 0, glassesProbability: 30 }],
  ['parts', 4000, 'p', { hatProbability: 0, glassesProbability: 30, ...PARTS }],
];
for (const [set, count, letter, options] of SETS) {
  for (let i = 0; i < count; i++) {
    const { svg, extra } = createAvatar(pixelArt, { seed: letter + i, ...options }).toJson();
    process.stdout.write(JSON.stringify({ set, svg, extra }) + '\n');
  }
}
