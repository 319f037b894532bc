import type { NginxOptions } from '@escala/testing/driver'

/**
 * `server api:3000;`, as in every tutorial: NGINX looks the name up when it starts, and keeps what it found. Without a name
 * server, as local processes, a list of addresses that is never rewritten is the same thing.
 */
export const naive: NginxOptions = { discovery: 'once' }
