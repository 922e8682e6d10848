import { readFileSync } from 'node:fs';
import { Hono } from 'hono';
import { renderArt } from './art.ts';

/** Star ratings are drawn by width; a strict content policy allows no inline styles. */
const STAR_WIDTHS = Array.from({ length: 51 }, (_, index) => `.s${index * 2}{width:${index * 2}%}`).join('');

const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#1f4d42"/><path d="M16 5c.9 6 4.2 9.3 10 10.2v1.6C20.2 17.7 16.9 21 16 27c-.9-6-4.200-9.300-10-10.2v-1.6C11.8 14.3 15.1 11 16 5Z" fill="#f7e7c4"/></svg>`;

/** Style sheet and pictures: everything a page loads comes from here. */
export function createAssets(): Hono {
  const css = readFileSync(new URL('shop.css', import.meta.url), 'utf8') + STAR_WIDTHS;
  const assets = new Hono();
  assets.get('/assets/shop.css', (c) =>
    c.body(css, 200, { 'content-type': 'text/css; charset=utf-8', 'cache-control': 'no-cache' }),
  );
  assets.get('/assets/icon.svg', (c) =>
    c.body(ICON, 200, { 'content-type': 'image/svg+xml', 'cache-control': 'max-age=86400' }),
  );
  assets.get('/art/:file', (c) => {
    const svg = renderArt(c.req.param('file').replace(/\.svg$/, ''));
    if (svg === null) return c.notFound();
    return c.body(svg, 200, { 'content-type': 'image/svg+xml', 'cache-control': 'max-age=86400' });
  });
  return assets;
}
