import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Paths of PEM files. */
export interface Certificates {
  readonly ca: string;
  readonly server: { readonly cert: string; readonly key: string };
  readonly client: { readonly ca: string; readonly cert: string; readonly key: string };
}

/** An authority of its own in `folder`, with a server's certificate for 127.0.0.1 and a client's. */
export function makeCertificates(folder: string): Certificates {
  const ca = join(folder, 'ca.pem');
  const caKey = join(folder, 'ca-key.pem');
  const subject = '/O=Lockstep test';
  openssl('req', '-x509', ...NEW_KEY, '-keyout', caKey, '-out', ca, '-days', '2', '-subj', subject);
  const server = issueCertificate(folder, 'server');
  const client = issueCertificate(folder, 'client');
  return { ca, server, client: { ca, ...client } };
}

/**
 * Signs `name`.pem by the authority in `folder`. No common name: etcd's gateway uses the server's certificate
 * as a client, and a name would stand for a user.
 */
export function issueCertificate(folder: string, name: string): { cert: string; key: string } {
  const [cert, key] = [join(folder, `${name}.pem`), join(folder, `${name}-key.pem`)];
  const request = join(folder, `${name}.csr`);
  const extensions = join(folder, `${name}.ext`);
  writeFileSync(extensions, 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n');
  openssl('req', ...NEW_KEY, '-keyout', key, '-out', request, '-subj', `/O=Lockstep ${name}`);
  const authority = ['-CA', join(folder, 'ca.pem'), '-CAkey', join(folder, 'ca-key.pem'), '-CAcreateserial'];
  openssl('x509', '-req', '-in', request, ...authority, '-days', '2', '-extfile', extensions, '-out', cert);
  return { cert, key };
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
