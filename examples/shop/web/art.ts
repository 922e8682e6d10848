import { createRandom } from '../seed/random.ts';
import {
  drawTableLamp,
  drawPendant,
  drawMug,
  drawBowl,
  drawPot,
  drawKettle,
  drawCushion,
  drawThrow,
  drawChair,
  drawSideTable,
} from './art-home.ts';
import { NIGHT, PALETTES } from './art-strokes.ts';
import type { Draw } from './art-strokes.ts';
import {
  drawNotebook,
  drawPencilCup,
  drawHeadphones,
  drawSpeaker,
  drawPlanter,
  drawWateringCan,
  drawBackpack,
  drawFlask,
  drawBlocks,
  drawWhale,
  drawLantern,
} from './art-things.ts';

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
