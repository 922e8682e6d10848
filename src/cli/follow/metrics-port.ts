import type { FollowStatus } from '../../logical/follow/status.ts';
import { createBoundedServer } from '../../http/bounded-server.ts';
import { renderFollowMetrics } from '../../logical/follow/core/metrics.ts';

/** Serves `/metrics` to this machine until it is disposed of. */
export async function openMetricsPort(port: number, read: () => FollowStatus): Promise<AsyncDisposable> {
  const bounded = createBoundedServer(
    (request, response) => {
      if (request.url !== '/metrics' || request.method !== 'GET') {
        response.writeHead(404).end();
        return;
      }
      response
        .writeHead(200, { 'content-type': 'text/plain; version=0.0.4' })
        .end(renderFollowMetrics(read()));
    },
    { maxBodyBytes: 0 },
  );
  await new Promise<void>((resolve, reject) => {
    bounded.server.once('error', reject);
    bounded.server.listen(port, '127.0.0.1', resolve);
  });
  return { [Symbol.asyncDispose]: () => bounded.close() };
}
