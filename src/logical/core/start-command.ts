import { formatLsn } from '../../model/lsn.ts';
import type { Lsn } from '../../model/lsn.ts';
import { quoteIdentifier, quoteLiteral } from './quote.ts';

/** What a stream asks its slot for. */
export interface StreamRequest {
  readonly slot: string;
  readonly publications: readonly string[];
  readonly origin?: 'any' | 'none';
  readonly format?: 'text' | 'binary';
  readonly startLsn?: Lsn;
  /** Has large transactions sent while they are in progress. */
  readonly streamsLarge: boolean;
}

/** Source: PostgreSQL documentation, "Logical Streaming Replication Parameters". */
export function startCommand(request: StreamRequest, serverVersion: number): string {
  const parameters: Record<string, string> = {
    proto_version: '1',
    publication_names: request.publications.map(quoteIdentifier).join(','),
    messages: 'true',
  };
  if (request.streamsLarge) Object.assign(parameters, { proto_version: '2', streaming: 'on' });
  if (request.format === 'binary') parameters['binary'] = 'true';
  if (request.origin === 'none' && serverVersion >= 160_000) parameters['origin'] = 'none';
  const list = Object.entries(parameters).map(([name, value]) => `${name} ${quoteLiteral(value)}`);
  const from = formatLsn(request.startLsn ?? (0n as Lsn));
  return `START_REPLICATION SLOT ${quoteIdentifier(request.slot)} LOGICAL ${from} (${list.join(', ')})`;
}
