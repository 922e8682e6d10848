import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** One file of the page, ready to be served. */
export interface Asset {
  readonly body: Uint8Array<ArrayBuffer>;
  readonly contentType: string;
  readonly etag: string;
}

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

const LIBRARY_FILES = ['uPlot.esm.js', 'uPlot.min.css'];

/**
 * Reads the page into memory once: every file beside this module in `page/` and in `more`, and uPlot's own from its
 * package, by name. Only what is in the map can be served, so that no path ever reaches the disk.
 */
export async function loadAssets(...more: readonly URL[]): Promise<ReadonlyMap<string, Asset>> {
  const assets = new Map<string, Asset>();
  for (const folder of [new URL('page/', import.meta.url), ...more]) {
    for (const name of await readdir(folder)) {
      if (extname(name) in CONTENT_TYPES) assets.set(name, await readAsset(new URL(name, folder)));
    }
  }
  for (const name of LIBRARY_FILES) {
    assets.set(name, await readAsset(new URL(import.meta.resolve(`uplot/dist/${name}`))));
  }
  return assets;
}

async function readAsset(url: URL): Promise<Asset> {
  const body = new Uint8Array(await readFile(fileURLToPath(url)));
  return {
    body,
    contentType: CONTENT_TYPES[extname(url.pathname)] ?? 'application/octet-stream',
    etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`,
  };
}
