const withPort = /\[([0-9a-f:.]+)\](?::\d{1,5})?|\b(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}\b/gi

/**
 * Drops the ports of an `X-Forwarded-For`, which some balancers (Azure's gateway, for one) put behind each address:
 * `192.0.2.1:4711` and `[2001:db8::1]:4711` would be another client with each connection.
 */
export function withoutPorts(header: string): string {
  return header.replace(withPort, (_, v6: string | undefined, v4: string | undefined) => v6 ?? v4 ?? '')
}
