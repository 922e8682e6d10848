import type { Random } from '../seed/random.ts';

export interface Palette {
  /** Backdrop, from top to bottom. */
  readonly sky: readonly [string, string];
  readonly floor: string;
  readonly main: string;
  readonly shade: string;
  readonly light: string;
  readonly accent: string;
}

export const PALETTES: readonly Palette[] = [
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

export const NIGHT: Palette = {
  sky: ['#16233b', '#243a5e'],
  floor: '#1b2c49',
  main: '#b23a48',
  shade: '#7f2634',
  light: '#dd6b74',
  accent: '#f7c873',
};

export type Draw = (palette: Palette, random: Random) => string;

export const shadow = (x: number, y: number, rx: number): string =>
  `<ellipse cx="${x}" cy="${y}" rx="${rx}" ry="${Math.round(rx * 0.13)}" fill="#000" opacity=".13"/>`;
export const path = (d: string, fill: string, more = ''): string => `<path d="${d}" fill="${fill}" ${more}/>`;
export const line = (d: string, stroke: string, width: number): string =>
  `<path d="${d}" fill="none" stroke="${stroke}" stroke-width="${width}" stroke-linecap="round" stroke-linejoin="round"/>`;
export const box = (x: number, y: number, w: number, h: number, r: number, fill: string, more = ''): string =>
  `<rect x="${x}" y="${y}" width="${w}" height="${h}" rx="${r}" fill="${fill}" ${more}/>`;
export const disc = (x: number, y: number, r: number, fill: string, more = ''): string =>
  `<circle cx="${x}" cy="${y}" r="${r}" fill="${fill}" ${more}/>`;
