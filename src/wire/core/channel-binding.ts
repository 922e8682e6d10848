import { LockstepError } from '../../model/errors.ts';

/** Whether SCRAM is bound to the TLS connection: never, where the server offers it, or `require`: always. */
export type ChannelBinding = boolean | 'require';

const BINDINGS: Readonly<Record<string, ChannelBinding>> = {
  disable: false,
  prefer: true,
  require: 'require',
};

/** libpq's `channel_binding`. Throws CONFIG_INVALID for what it does not take: a typo would bind nothing. */
export function parseChannelBinding(value: string): ChannelBinding {
  const binding = Object.hasOwn(BINDINGS, value) ? BINDINGS[value] : undefined;
  if (binding !== undefined) return binding;
  throw new LockstepError(
    'CONFIG_INVALID',
    `Give channel_binding in the URL as one of ${Object.keys(BINDINGS).join(', ')}.`,
  );
}
