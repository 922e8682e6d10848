import { createRandom } from '../seed/random.ts';
import type { Random } from '../seed/random.ts';

/** What can be drawn. Each product names its form and a number that decides colours and proportions. */
export const ART_FORMS = [
  'table-lamp',
  'pendant',
  'mug',
  'bowl',
  'pot',
  'kettle',
  'cushion',
  'throw',
  'chair',
  'side-table',
  'notebook',
  'pencil-cup',
  'headphones',
  'speaker',
  'planter',
  'watering-can',
  'backpack',
  'flask',
  'blocks',
  'whale',
  'lantern',
] as const;
export type ArtForm = (typeof ART_FORMS)[number];

interface Palette {
  /** Backdrop, from top to bottom. */
  readonly sky: readonly [string, string];
  readonly floor: string;
  readonly main: string;
  readonly shade: string;
  readonly light: string;
  readonly accent: string;
}

const PALETTES: readonly Palette[] = [
  {
    sky: ['#f6e7d8', '#efd3b8'],
    floor: '#e3bd9b',
    main: '#c65d3b',
    shade: '#9f4429',
    light: '#e58f6c',
    accent: '#274046',
  },
  {
    sky: ['#e4ede6', '#c9dccf'],
    floor: '#b1cab9',
    main: '#2f6f5e',
    shade: '#20524a',
    light: '#5d9c87',
    accent: '#e0a458',
  },
  {
    sky: ['#e6ebf5', '#cbd6ea'],
    floor: '#b4c3de',
    main: '#3b5b92',
    shade: '#2a4473',
    light: '#7290c4',
    accent: '#e07a5f',
  },
  {
    sky: ['#fbeee0', '#f7d9b0'],
    floor: '#ecc48f',
    main: '#e09f3e',
    shade: '#b97c22',
    light: '#f3c677',
    accent: '#540b0e',
  },
  {
    sky: ['#f3e6ec', '#e4c7d4'],
    floor: '#d4aebf',
    main: '#a44a6c',
    shade: '#7d3350',
    light: '#cc7f9c',
    accent: '#2b3a55',
  },
  {
    sky: ['#ecebe6', '#d8d5cb'],
    floor: '#c6c1b3',
    main: '#4a4e57',
    shade: '#33363d',
    light: '#7b808b',
    accent: '#d98e5f',
  },
  {
    sky: ['#e2eff0', '#bfdcdf'],
    floor: '#a5cacf',
    main: '#1f7a8c',
    shade: '#155a68',
    light: '#58a9b8',
    accent: '#f2b134',
  },
  {
    sky: ['#f0eadf', '#e0d2b8'],
    floor: '#cfbd9c',
    main: '#8a6240',
    shade: '#67472c',
    light: '#b58a63',
    accent: '#3f6b5b',
  },
  {
    sky: ['#efe7f4', '#d8c8e6'],
    floor: '#c3b0d6',
    main: '#6b4c9a',
    shade: '#4f3676',
    light: '#9b80c4',
    accent: '#f29e4c',
  },
  {
    sky: ['#f7f1e8', '#eadfce'],
    floor: '#d9cab3',
    main: '#e8dcc8',
    shade: '#c7b699',
    light: '#faf4ea',
    accent: '#b5533c',
  },
];

const NIGHT: Palette = {
  sky: ['#16233b', '#243a5e'],
  floor: '#1b2c49',
  main: '#b23a48',
  shade: '#7f2634',
  light: '#dd6b74',
  accent: '#f7c873',
};

type Draw = (palette: Palette, random: Random) => string;

const shadow = (x: number, y: number, rx: number): string =>
  `<ellipse cx="${x}" cy="${y}" rx="${rx}" ry="${Math.round(rx * 0.13)}" fill="#000" opacity=".13"/>`;
const path = (d: string, fill: string, more = ''): string => `<path d="${d}" fill="${fill}" ${more}/>`;
const line = (d: string, stroke: string, width: number): string =>
  `<path d="${d}" fill="none" stroke="${stroke}" stroke-width="${width}" stroke-linecap="round" stroke-linejoin="round"/>`;
const box = (x: number, y: number, w: number, h: number, r: number, fill: string, more = ''): string =>
  `<rect x="${x}" y="${y}" width="${w}" height="${h}" rx="${r}" fill="${fill}" ${more}/>`;
const disc = (x: number, y: number, r: number, fill: string, more = ''): string =>
  `<circle cx="${x}" cy="${y}" r="${r}" fill="${fill}" ${more}/>`;

const drawTableLamp: Draw = (p, random) => {
  const top = random.int(34, 62);
  const bottom = random.int(88, 112);
  const base = random.int(0, 2);
  const foot =
    base === 0
      ? box(194, 196, 12, 112, 6, p.accent) + box(150, 300, 100, 14, 7, p.accent)
      : base === 1
        ? path('M200 190c34 28 48 56 48 78 0 26-20 44-48 44s-48-18-48-44c0-22 14-50 48-78Z', p.accent) +
          path(
            'M176 250c2-16 8-28 16-38',
            'none',
            'stroke="#fff" stroke-width="6" stroke-linecap="round" opacity=".3"',
          )
        : disc(200, 276, 36, p.accent) +
          disc(200, 222, 22, p.accent) +
          disc(190, 264, 8, '#fff', 'opacity=".25"');
  return `${disc(200, 170, 150, '#fff8d6', 'opacity=".45"')}${shadow(200, 314, 82)}${foot}
    ${path(`M${200 - top} 90h${top * 2}l${bottom - top} 108h${-bottom * 2}Z`, p.main)}
    ${path(`M${200 - top} 90h${top * 0.8}l${-(bottom - top) * 0.3} 108h${-(bottom - (bottom - top) * 0.3 - top * 0.2)}Z`, p.light, 'opacity=".55"')}
    ${box(200 - bottom, 194, bottom * 2, 7, 3, p.shade)}`;
};

const drawPendant: Draw = (p, random) => {
  const shade = random.int(0, 2);
  const drop = random.int(90, 140);
  const y = drop;
  const body =
    shade === 0
      ? path(`M100 ${y + 110}c0-64 44-104 100-104s100 40 100 104Z`, p.main) +
        path(`M118 ${y + 104}c4-46 30-78 62-90-20 26-30 54-32 90Z`, p.light, 'opacity=".6"')
      : shade === 1
        ? disc(200, y + 80, 82, p.main) +
          disc(172, y + 54, 24, p.light, 'opacity=".7"') +
          box(182, y - 8, 36, 18, 6, p.accent)
        : path(`M170 ${y + 6}h60l64 104H106Z`, p.main) +
          path(`M170 ${y + 6}h24l-28 104h-60Z`, p.light, 'opacity=".55"');
  const glow =
    shade === 1
      ? ''
      : `<ellipse cx="200" cy="${y + 112}" rx="${shade === 0 ? 92 : 86}" ry="13" fill="#fff3c4"/>`;
  return `${path(`M110 ${y + 112}L30 400h340L290 ${y + 112}Z`, '#fff8d6', 'opacity=".38"')}
    ${line(`M200 0V${y}`, p.accent, 4)}${body}${glow}${box(188, y - 10, 24, 20, 6, p.accent)}`;
};

const drawMug: Draw = (p, random) => {
  const h = random.int(120, 160);
  const y = 304 - h;
  const band = random.int(0, 2);
  const pattern =
    band === 0
      ? box(118, y + h * 0.55, 150, h * 0.45 - 6, 18, p.light, 'opacity=".75"')
      : band === 1
        ? Array.from({ length: 16 }, () =>
            disc(random.int(130, 256), random.int(y + 24, 290), random.int(2, 4), p.accent, 'opacity=".7"'),
          ).join('')
        : box(118, y + h * 0.34, 150, 9, 0, p.accent) + box(118, y + h * 0.34 + 18, 150, 4, 0, p.accent);
  return `${shadow(200, 306, 100)}${line(`M262 ${y + 34}c62-8 62 ${h * 0.55} 0 ${h * 0.5}`, p.shade, 20)}
    ${path(`M118 ${y}h150v${h - 36}c0 24-16 36-36 36h-78c-20 0-36-12-36-36Z`, p.main)}${pattern}
    <ellipse cx="193" cy="${y}" rx="75" ry="14" fill="${p.shade}"/><ellipse cx="193" cy="${y + 3}" rx="64" ry="9" fill="#3b2418"/>
    ${line(`M170 ${y - 34}c-14-18 14-26 0-46`, '#fff', 6)}${line(`M214 ${y - 30}c-14-18 14-26 0-46`, '#fff', 6)}`;
};

const drawBowl: Draw = (p, random) => {
  const y = random.int(184, 206);
  const fruit = random.int(0, 1) === 0;
  const inside = fruit
    ? disc(160, y - 18, 36, p.accent) +
      disc(226, y - 14, 40, '#d9573f') +
      disc(194, y - 36, 34, '#e8b23a') +
      path(`M194 ${y - 70}q14-20 26-14-4 16-26 14`, '#4f8a4f')
    : '';
  return `${shadow(200, 308, 92)}${inside}
    ${path(`M76 ${y}h248c0 68-46 106-92 106h-64c-46 0-92-38-92-106Z`, p.main)}
    ${path(`M92 ${y + 12}c6 44 34 74 64 86-34-4-72-34-76-86Z`, p.light, 'opacity=".7"')}
    ${box(76, y - 6, 248, 14, 7, p.shade)}${box(160, 298, 80, 12, 5, p.shade)}`;
};

const drawPot: Draw = (p, random) => {
  const h = random.int(96, 136);
  const y = 304 - h;
  return `${shadow(200, 308, 118)}
    ${line(`M92 ${y + 34}h-30v24h30`, p.shade, 14)}${line(`M308 ${y + 34}h30v24h-30`, p.shade, 14)}
    ${box(88, y, 224, h, 26, p.main)}${box(104, y + 16, 26, h - 44, 13, p.light, 'opacity=".65"')}
    ${box(78, y - 16, 244, 24, 12, p.shade)}${path(`M104 ${y - 16}c18-32 56-44 96-44s78 12 96 44Z`, p.main)}
    ${box(176, y - 84, 48, 26, 13, p.accent)}`;
};

const drawKettle: Draw = (p, random) => {
  const w = random.int(78, 96);
  return `${shadow(200, 308, 104)}${line('M142 150c-10-74 126-74 116 0', p.accent, 14)}
    ${path(`M${200 + w - 16} 200c40-6 44-48 74-56l10 14c-26 12-24 64-66 92Z`, p.shade)}
    ${path(`M${200 - w} 268c0-70 34-120 ${w}-120s${w} 50 ${w} 120c0 24-16 38-38 38h${-(w * 2 - 76)}c-22 0-38-14-38-38Z`, p.main)}
    ${path(`M${200 - w + 18} 262c0-40 14-74 36-90-10 34-12 66-12 100-14 2-24 0-24-10Z`, p.light, 'opacity=".65"')}
    <ellipse cx="200" cy="152" rx="50" ry="12" fill="${p.shade}"/>${disc(200, 136, 12, p.accent)}`;
};

const drawCushion: Draw = (p, random) => {
  const motif = random.int(0, 2);
  const clip = 'clip-path="url(#c)"';
  const pattern =
    motif === 0
      ? Array.from({ length: 6 }, (_, index) =>
          box(60, 96 + index * 36, 280, 12, 0, index % 2 === 0 ? p.light : p.accent, clip),
        ).join('')
      : motif === 1
        ? Array.from({ length: 25 }, (_, index) =>
            disc(108 + (index % 5) * 46, 108 + Math.floor(index / 5) * 46, 9, p.light, clip),
          ).join('')
        : `<g ${clip}>${disc(200, 200, 84, p.light)}${disc(200, 200, 52, p.accent)}${disc(200, 200, 22, p.main)}</g>`;
  const d = 'M84 96c40 14 190 14 232 0-10 60-10 150 4 214-48-12-196-12-240 0 14-62 14-154 4-214Z';
  return `<clipPath id="c"><path d="${d}"/></clipPath>${shadow(200, 314, 122)}${path(d, p.main)}${pattern}
    ${path('M84 96c-4-4-10-14-8-20 8 0 16 10 20 24Z M316 96c4-4 10-14 8-20-8 0-16 10-20 24Z M80 310c-6 4-12 14-12 20 10 0 16-10 22-22Z M320 310c6 4 12 14 12 20-10 0-16-10-22-22Z', p.shade)}`;
};

const drawThrow: Draw = (p, random) => {
  const folds = random.int(3, 5);
  const h = 130 / folds;
  const layers = Array.from({ length: folds }, (_, index) => {
    const y = 300 - (index + 1) * h;
    const fill = [p.main, p.light, p.shade][index % 3] ?? p.main;
    return (
      box(92 - (index % 2) * 5, y, 216 + (index % 2) * 10, h + 2, h / 2, fill) +
      box(120, y + h * 0.35, 150, 3, 1.5, '#fff', 'opacity=".25"')
    );
  }).join('');
  const fringe = Array.from({ length: 11 }, (_, index) =>
    line(`M${226 + index * 7} 236v${28 + (index % 2) * 8}`, p.accent, 3),
  ).join('');
  return `${shadow(200, 304, 124)}${layers}${path(`M218 ${300 - 130}h86v68h-86Z`, p.accent, 'opacity=".92"')}
    ${box(218, 186, 86, 7, 0, p.light)}${box(218, 206, 86, 7, 0, p.light)}${fringe}`;
};

const drawChair: Draw = (p, random) => {
  const round = random.int(0, 1) === 0 ? 44 : 18;
  const legs =
    line('M132 262l-18 66', p.accent, 11) +
    line('M268 262l18 66', p.accent, 11) +
    line('M166 262l-6 52', p.accent, 9) +
    line('M234 262l6 52', p.accent, 9);
  return `${shadow(200, 328, 116)}${legs}${box(116, 86, 168, 150, round, p.main)}
    ${box(132, 102, 24, 104, 12, p.light, 'opacity=".55"')}
    ${box(84, 168, 44, 90, 20, p.shade)}${box(272, 168, 44, 90, 20, p.shade)}
    ${box(104, 204, 192, 62, 24, p.light)}${box(104, 236, 192, 30, 15, p.main)}`;
};

const drawSideTable: Draw = (p, random) => {
  const y = random.int(168, 194);
  const three = random.int(0, 1) === 0;
  const legs = three
    ? line(`M140 ${y + 12}l-26 ${314 - y}`, p.shade, 11) +
      line(`M260 ${y + 12}l26 ${314 - y}`, p.shade, 11) +
      line(`M200 ${y + 12}v${300 - y}`, p.shade, 10)
    : box(190, y, 20, 316 - y, 8, p.shade) + box(136, 308, 128, 14, 7, p.shade);
  const vase =
    path(`M222 ${y - 4}c-20 0-26-22-18-38 5-10 6-16 4-26h28c-2 10-1 16 4 26 8 16 2 38-18 38Z`, p.accent) +
    line(`M222 ${y - 66}c0-22-8-36-20-48M222 ${y - 66}c0-24 8-38 22-50`, '#5d8a5a', 4) +
    disc(202, y - 116, 9, '#e9c46a') +
    disc(245, y - 118, 8, '#f4a261');
  return `${shadow(200, 326, 100)}${legs}${vase}<ellipse cx="200" cy="${y + 8}" rx="112" ry="18" fill="${p.shade}"/>
    <ellipse cx="200" cy="${y}" rx="112" ry="18" fill="${p.main}"/><ellipse cx="180" cy="${y - 3}" rx="64" ry="7" fill="${p.light}" opacity=".5"/>${vase}`;
};

const drawNotebook: Draw = (p, random) => {
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

const drawPencilCup: Draw = (p, random) => {
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

const drawHeadphones: Draw = (p, random) => {
  const w = random.int(92, 108);
  return `${shadow(200, 322, 112)}${line(`M${200 - w} 232c-14-170 ${w * 2 + 28}-170 ${w * 2} 0`, p.shade, 22)}
    ${line(`M${200 - w + 8} 160c30-56 ${w * 2 - 76}-56 ${w * 2 - 16} 0`, p.light, 7)}
    ${box(200 - w - 30, 206, 56, 100, 26, p.main)}${box(200 + w - 26, 206, 56, 100, 26, p.main)}
    ${box(200 - w + 20, 214, 24, 84, 12, p.accent)}${box(200 + w - 44, 214, 24, 84, 12, p.accent)}
    ${box(200 - w - 20, 220, 10, 60, 5, p.light, 'opacity=".8"')}`;
};

const drawSpeaker: Draw = (p, random) => {
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

const drawPlanter: Draw = (p, random) => {
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

const drawWateringCan: Draw = (p, random) => {
  const h = random.int(104, 126);
  const y = 312 - h;
  return `${shadow(200, 316, 108)}${line(`M256 ${y + 18}c84-16 84 ${h * 0.9} 8 ${h * 0.72}`, p.shade, 15)}
    ${path(`M150 ${y + 66}L70 ${y - 22}l18-14 74 66Z`, p.shade)}${path(`M58 ${y - 6}l40-42 12 10-42 44Z`, p.accent)}
    ${path(`M142 ${y}h124l14 ${h - 14}c1 8-5 14-14 14H146c-9 0-15-6-14-14Z`, p.main)}${path(`M154 ${y + 12}h24l-6 ${h - 28}h-22Z`, p.light, 'opacity=".6"')}
    <ellipse cx="204" cy="${y}" rx="62" ry="11" fill="${p.shade}"/>${disc(62, y + 34, 5, '#6bb6d6')}${disc(48, y + 58, 4, '#6bb6d6')}${disc(74, y + 64, 4, '#6bb6d6')}`;
};

const drawBackpack: Draw = (p, random) => {
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

const drawFlask: Draw = (p, random) => {
  const w = random.int(42, 56);
  const bands = random.int(1, 3);
  const stripes = Array.from({ length: bands }, (_, index) =>
    box(200 - w, 232 + index * 20, w * 2, 9, 0, p.accent),
  ).join('');
  return `${shadow(200, 322, 66)}${box(200 - 24, 66, 48, 46, 10, p.accent)}${box(200 - 18, 108, 36, 18, 2, p.shade)}
    ${path(`M${200 - w} 166c0-28 16-42 30-46h${w * 2 - 60}c14 4 30 18 30 46v132c0 14-10 24-24 24h${-(w * 2 - 48)}c-14 0-24-10-24-24Z`, p.main)}
    ${box(200 - w + 12, 160, 13, 130, 6.5, p.light, 'opacity=".75"')}${stripes}${line('M200 66c0-26 34-26 34 4', p.shade, 7)}`;
};

const drawBlocks: Draw = (p, random) => {
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

const drawWhale: Draw = (p, random) => {
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

const drawLantern: Draw = (p, random) => {
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

const DRAW: Readonly<Record<ArtForm, Draw>> = {
  'table-lamp': drawTableLamp,
  pendant: drawPendant,
  mug: drawMug,
  bowl: drawBowl,
  pot: drawPot,
  kettle: drawKettle,
  cushion: drawCushion,
  throw: drawThrow,
  chair: drawChair,
  'side-table': drawSideTable,
  notebook: drawNotebook,
  'pencil-cup': drawPencilCup,
  headphones: drawHeadphones,
  speaker: drawSpeaker,
  planter: drawPlanter,
  'watering-can': drawWateringCan,
  backpack: drawBackpack,
  flask: drawFlask,
  blocks: drawBlocks,
  whale: drawWhale,
  lantern: drawLantern,
};

/** The picture for a name like `mug-1234`, null when there is no such form. The same name, the same picture. */
export function renderArt(name: string): string | null {
  const match = /^([a-z-]+)-(\d{1,6})$/.exec(name);
  const form = ART_FORMS.find((candidate) => candidate === match?.[1]);
  if (form === undefined) return null;
  const random = createRandom(Number(match?.[2]) * 2_654_435_761);
  const palette = form === 'lantern' ? NIGHT : random.pick(PALETTES);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400"><defs><linearGradient id="s" x1="0" y1="0" x2="0" y2="1">
    <stop offset="0" stop-color="${palette.sky[0]}"/><stop offset="1" stop-color="${palette.sky[1]}"/></linearGradient></defs>
    <rect width="400" height="400" fill="url(#s)"/>${form === 'pendant' ? '' : `<path d="M0 292h400v108H0Z" fill="${palette.floor}"/>`}
    ${DRAW[form](palette, random)}</svg>`;
}
