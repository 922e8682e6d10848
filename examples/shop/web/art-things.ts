import { box, disc, line, path, shadow } from './art-strokes.ts';
import type { Draw } from './art-strokes.ts';

export const drawNotebook: Draw = (p, random) => {
  const tilt = random.int(-9, 9);
  const label =
    random.int(0, 1) === 0
      ? box(150, 136, 86, 50, 4, '#fff', 'opacity=".88"') +
        box(162, 150, 62, 4, 2, p.shade) +
        box(162, 164, 42, 4, 2, p.shade)
      : disc(196, 164, 30, p.accent);
  return `${shadow(206, 326, 96)}<g transform="rotate(${tilt} 200 200)">${box(124, 90, 168, 230, 12, p.shade)}${box(120, 92, 160, 222, 6, '#fffaf0')}
    ${box(112, 84, 164, 230, 12, p.main)}${box(112, 84, 26, 230, 10, p.shade, 'opacity=".6"')}${label}
    ${box(250, 84, 9, 230, 0, p.accent)}${path('M220 314h14v34l-7-8-7 8Z', p.accent)}</g>`;
};

export const drawPencilCup: Draw = (p, random) => {
  const colors = [p.accent, '#e9c46a', p.light, '#e76f51', p.shade];
  const pencils = [0, 1, 2, 3].map((index) => {
    const x = 152 + index * 27;
    const lean = random.int(-10, 10);
    const fill = colors[(index + random.int(0, 4)) % 5] ?? p.accent;
    const top = random.int(82, 120);
    return `<g transform="rotate(${lean} ${x} 220)">${box(x, top, 16, 150, 2, fill)}${path(`M${x} ${top}l8-22 8 22Z`, '#f0d9b5')}${path(`M${x + 5} ${top - 9}l3-13 3 13Z`, '#333')}</g>`;
  });
  return `${shadow(200, 316, 78)}${pencils.join('')}${path('M130 190h140l-12 112c-1 8-6 12-14 12h-88c-8 0-13-4-14-12Z', p.main)}
    ${path('M142 198h26l-6 104h-8Z', p.light, 'opacity=".6"')}<ellipse cx="200" cy="192" rx="70" ry="11" fill="${p.shade}" opacity=".55"/>`;
};

export const drawHeadphones: Draw = (p, random) => {
  const w = random.int(92, 108);
  return `${shadow(200, 322, 112)}${line(`M${200 - w} 232c-14-170 ${w * 2 + 28}-170 ${w * 2} 0`, p.shade, 22)}
    ${line(`M${200 - w + 8} 160c30-56 ${w * 2 - 76}-56 ${w * 2 - 16} 0`, p.light, 7)}
    ${box(200 - w - 30, 206, 56, 100, 26, p.main)}${box(200 + w - 26, 206, 56, 100, 26, p.main)}
    ${box(200 - w + 20, 214, 24, 84, 12, p.accent)}${box(200 + w - 44, 214, 24, 84, 12, p.accent)}
    ${box(200 - w - 20, 220, 10, 60, 5, p.light, 'opacity=".8"')}`;
};

export const drawSpeaker: Draw = (p, random) => {
  const tall = random.int(0, 1) === 0;
  if (tall) {
    return `${shadow(200, 320, 88)}${box(120, 70, 160, 248, 18, p.main)}${box(132, 82, 136, 224, 10, p.shade, 'opacity=".5"')}
      ${disc(200, 132, 32, p.accent)}${disc(200, 132, 14, p.light)}${disc(200, 230, 58, p.accent)}${disc(200, 230, 40, p.shade)}${disc(200, 230, 16, p.light)}`;
  }
  const dots = Array.from({ length: 40 }, (_, index) =>
    disc(100 + (index % 8) * 17, 196 + Math.floor(index / 8) * 18, 4, p.shade),
  ).join('');
  return `${shadow(200, 306, 134)}${line('M130 158c0-40 140-40 140 0', p.accent, 10)}${box(72, 154, 256, 150, 34, p.main)}${dots}
    ${disc(276, 212, 27, p.accent)}${disc(276, 212, 18, p.light)}${line('M276 212v-14', p.shade, 4)}${box(252, 258, 48, 10, 5, p.shade)}`;
};

export const drawPlanter: Draw = (p, random) => {
  const leaf = ['#4d7c59', '#6a994e', '#386641', '#588157'];
  const leaves = Array.from({ length: random.int(7, 10) }, () => ({
    fill: random.pick(leaf),
    length: random.int(92, 142),
  }));
  const drawn = leaves.map(({ fill, length }, index) => {
    const angle = -70 + (140 / Math.max(1, leaves.length - 1)) * index;
    return `<g transform="rotate(${angle} 200 214)">${path(`M200 214c-30 ${-length * 0.4}-20 ${-length * 0.85} 0 ${-length} 20 ${length * 0.15} 30 ${length * 0.6} 0 ${length}Z`, fill)}${line(`M200 210v${-length * 0.75}`, '#ffffff40', 3)}</g>`;
  });
  return `${shadow(200, 320, 92)}${drawn.join('')}${path('M126 214h148l-18 92c-2 8-8 12-16 12h-80c-8 0-14-4-16-12Z', p.main)}
    ${path('M140 222h26l-2 88h-8Z', p.light, 'opacity=".6"')}${box(114, 202, 172, 24, 8, p.shade)}`;
};

export const drawWateringCan: Draw = (p, random) => {
  const h = random.int(104, 126);
  const y = 312 - h;
  return `${shadow(200, 316, 108)}${line(`M256 ${y + 18}c84-16 84 ${h * 0.9} 8 ${h * 0.72}`, p.shade, 15)}
    ${path(`M150 ${y + 66}L70 ${y - 22}l18-14 74 66Z`, p.shade)}${path(`M58 ${y - 6}l40-42 12 10-42 44Z`, p.accent)}
    ${path(`M142 ${y}h124l14 ${h - 14}c1 8-5 14-14 14H146c-9 0-15-6-14-14Z`, p.main)}${path(`M154 ${y + 12}h24l-6 ${h - 28}h-22Z`, p.light, 'opacity=".6"')}
    <ellipse cx="204" cy="${y}" rx="62" ry="11" fill="${p.shade}"/>${disc(62, y + 34, 5, '#6bb6d6')}${disc(48, y + 58, 4, '#6bb6d6')}${disc(74, y + 64, 4, '#6bb6d6')}`;
};

export const drawBackpack: Draw = (p, random) => {
  const flap = random.int(0, 1) === 0;
  const top = flap
    ? path('M118 164c0-60 34-88 82-88s82 28 82 88v22c-50 16-114 16-164 0Z', p.shade) +
      box(190, 170, 20, 40, 6, p.accent)
    : line('M136 148c20-44 108-44 128 0', p.shade, 6) + disc(264, 150, 7, p.accent);
  return `${shadow(200, 324, 104)}${line('M172 84c0-44 56-44 56 0', p.accent, 10)}
    ${box(84, 190, 40, 104, 18, p.shade)}${box(276, 190, 40, 104, 18, p.shade)}
    ${path('M112 168c0-62 36-94 88-94s88 32 88 94v126c0 18-12 30-30 30H142c-18 0-30-12-30-30Z', p.main)}${top}
    ${box(138, 226, 124, 78, 16, p.light)}${line('M152 244h96', p.shade, 5)}${box(228, 244, 8, 20, 4, p.accent)}`;
};

export const drawFlask: Draw = (p, random) => {
  const w = random.int(42, 56);
  const bands = random.int(1, 3);
  const stripes = Array.from({ length: bands }, (_, index) =>
    box(200 - w, 232 + index * 20, w * 2, 9, 0, p.accent),
  ).join('');
  return `${shadow(200, 322, 66)}${box(200 - 24, 66, 48, 46, 10, p.accent)}${box(200 - 18, 108, 36, 18, 2, p.shade)}
    ${path(`M${200 - w} 166c0-28 16-42 30-46h${w * 2 - 60}c14 4 30 18 30 46v132c0 14-10 24-24 24h${-(w * 2 - 48)}c-14 0-24-10-24-24Z`, p.main)}
    ${box(200 - w + 12, 160, 13, 130, 6.5, p.light, 'opacity=".75"')}${stripes}${line('M200 66c0-26 34-26 34 4', p.shade, 7)}`;
};

export const drawBlocks: Draw = (p, random) => {
  const colors = [p.main, p.accent, p.light, '#e9c46a', '#e76f51', '#457b9d', '#6a994e'];
  const color = (): string => random.pick(colors);
  const tops = [
    path('M152 112l48-62 48 62Z', color()),
    path('M152 112c0-64 96-64 96 0Z', color()),
    disc(200, 72, 40, color()),
  ];
  return `${shadow(200, 320, 126)}${box(80, 232, 80, 86, 8, color())}${box(240, 232, 80, 86, 8, color())}${box(164, 232, 72, 86, 8, color())}
    ${path('M180 318c0-44 40-44 40 0Z', '#00000030')}${box(112, 172, 176, 56, 8, color())}${box(152, 116, 96, 52, 8, color())}${random.pick(tops)}
    ${disc(120, 274, 15, '#ffffff66')}${path('M280 256l16 32h-32Z', '#ffffff66')}`;
};

export const drawWhale: Draw = (p, random) => {
  const wheels = random.int(0, 1) === 0;
  const under = wheels
    ? disc(140, 304, 21, p.accent) +
      disc(248, 304, 21, p.accent) +
      disc(140, 304, 7, p.light) +
      disc(248, 304, 7, p.light) +
      line('M74 264l-44 30', p.shade, 4)
    : line('M40 312c20-16 40 16 60 0s40 16 60 0 40 16 60 0 40 16 60 0 40 16 60 0', '#6bb6d6', 9);
  return `${shadow(200, 326, 134)}${line('M150 118c0-26-14-34-30-34M150 118c0-26 14-34 30-34', '#6bb6d6', 8)}
    ${path('M66 226c0-62 42-100 96-100 66 0 92 56 138 60 20 2 30-14 32-34-18-4-28-20-26-36 20 0 30 10 34 22 8-12 20-20 38-16-2 20-14 32-30 34 2 80-56 138-144 138H142c-44 0-76-24-76-68Z', p.main)}
    ${path('M72 248c40 20 130 22 196-6-20 32-56 52-104 52h-22c-38 0-64-18-70-46Z', p.light)}${disc(118, 206, 9, '#fff')}${disc(116, 207, 5, '#222')}
    ${path('M186 240c8 26 30 36 50 32 2-20-14-36-50-32Z', p.shade)}${under}`;
};

export const drawLantern: Draw = (p, random) => {
  const flakes = Array.from({ length: 34 }, () =>
    disc(
      random.int(6, 394),
      random.int(6, 300),
      random.int(1, 4),
      '#fff',
      `opacity="${(0.35 + random.next() * 0.6).toFixed(2)}"`,
    ),
  );
  return `${flakes.join('')}${disc(200, 214, 150, p.accent, 'opacity=".16"')}${disc(200, 214, 104, p.accent, 'opacity=".2"')}${shadow(200, 332, 96)}
    ${line('M168 92c0-52 64-52 64 0', p.accent, 6)}${path('M200 76l74 52H126Z', p.shade)}${box(186, 62, 28, 20, 6, p.main)}
    ${box(132, 128, 136, 176, 8, '#fff1c9')}${disc(200, 232, 56, '#ffd978', 'opacity=".75"')}
    ${path('M200 190c18 22 20 36 20 46a20 20 0 0 1-40 0c0-10 2-24 20-46Z', '#ff9f45')}${path('M200 216c8 10 9 16 9 22a9 9 0 0 1-18 0c0-6 1-12 9-22Z', '#fff3d1')}
    ${box(186, 256, 28, 46, 4, '#fffaf0')}${line('M132 128v176M268 128v176M200 128v40', p.main, 8)}${line('M132 178h136', p.main, 5)}
    ${box(116, 300, 168, 26, 8, p.main)}${box(126, 120, 148, 14, 6, p.main)}
    ${path('M200 138l5 12 13 1-10 8 3 13-11-7-11 7 3-13-10-8 13-1Z', p.accent)}`;
};
