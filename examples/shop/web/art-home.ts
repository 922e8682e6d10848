import { box, disc, line, path, shadow } from './art-strokes.ts';
import type { Draw } from './art-strokes.ts';

export const drawTableLamp: Draw = (p, random) => {
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

export const drawPendant: Draw = (p, random) => {
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

export const drawMug: Draw = (p, random) => {
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

export const drawBowl: Draw = (p, random) => {
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

export const drawPot: Draw = (p, random) => {
  const h = random.int(96, 136);
  const y = 304 - h;
  return `${shadow(200, 308, 118)}
    ${line(`M92 ${y + 34}h-30v24h30`, p.shade, 14)}${line(`M308 ${y + 34}h30v24h-30`, p.shade, 14)}
    ${box(88, y, 224, h, 26, p.main)}${box(104, y + 16, 26, h - 44, 13, p.light, 'opacity=".65"')}
    ${box(78, y - 16, 244, 24, 12, p.shade)}${path(`M104 ${y - 16}c18-32 56-44 96-44s78 12 96 44Z`, p.main)}
    ${box(176, y - 84, 48, 26, 13, p.accent)}`;
};

export const drawKettle: Draw = (p, random) => {
  const w = random.int(78, 96);
  return `${shadow(200, 308, 104)}${line('M142 150c-10-74 126-74 116 0', p.accent, 14)}
    ${path(`M${200 + w - 16} 200c40-6 44-48 74-56l10 14c-26 12-24 64-66 92Z`, p.shade)}
    ${path(`M${200 - w} 268c0-70 34-120 ${w}-120s${w} 50 ${w} 120c0 24-16 38-38 38h${-(w * 2 - 76)}c-22 0-38-14-38-38Z`, p.main)}
    ${path(`M${200 - w + 18} 262c0-40 14-74 36-90-10 34-12 66-12 100-14 2-24 0-24-10Z`, p.light, 'opacity=".65"')}
    <ellipse cx="200" cy="152" rx="50" ry="12" fill="${p.shade}"/>${disc(200, 136, 12, p.accent)}`;
};

export const drawCushion: Draw = (p, random) => {
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

export const drawThrow: Draw = (p, random) => {
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

export const drawChair: Draw = (p, random) => {
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

export const drawSideTable: Draw = (p, random) => {
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
