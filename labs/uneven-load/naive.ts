import { renderNginx } from '@escala/servers/nginx-config'

/** NGINX's default: round robin, however busy each replica is. */
export const roundRobin = { settings: { least_conn: undefined } }

/** The usual answer to "my users are logged out": each address stays with its replica. NGINX allows no `backup` with it. */
export const sticky = {
  conf: (listen: string, addresses: string[]) =>
    renderNginx({ listen, upstream: { kind: 'addresses', addresses } })
      .replace('least_conn;', 'hash $remote_addr;')
      .replace(/^ *server \S+ max_fails=0 backup;\n/gm, ''),
}
