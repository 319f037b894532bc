import { createSocket } from 'node:dgram'
import { once } from 'node:events'

export interface DnsServer {
  address: string
  /** Host → what its TXT record says. A host that is not listed has none. */
  records: Map<string, string>
  /** Hosts whose questions get no response. */
  silent: Set<string>
  /** Each question in the order of arrival. */
  asked: string[]
  stop(): void
}

/** A DNS server for TXT records: as much of RFC 1035 as the tests need. */
export async function startDnsServer(): Promise<DnsServer> {
  const socket = createSocket('udp4')
  const [records, silent, asked] = [new Map<string, string>(), new Set<string>(), [] as string[]]
  socket.on('message', (question, { port, address }) => {
    const labels: string[] = []
    let at = 12
    for (let length = question[at] ?? 0; length > 0; length = question[at] ?? 0) {
      labels.push(question.toString('latin1', at + 1, at + 1 + length))
      at += 1 + length
    }
    const host = labels.join('.')
    asked.push(host)
    if (silent.has(host)) return
    const text = records.get(host)
    const header = Buffer.from(question.subarray(0, 12))
    header.writeUInt16BE(text === undefined ? 0x8183 : 0x8180, 2) // no such name, or no error
    header.writeUInt16BE(text === undefined ? 0 : 1, 6)
    header.fill(0, 8) // no further records
    socket.send(
      Buffer.concat([header, question.subarray(12, at + 5), ...(text === undefined ? [] : [record(text)])]),
      port,
      address,
    )
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return { address: `127.0.0.1:${socket.address().port}`, records, silent, asked, stop: () => void socket.close() }
}

/** The name of the question, type TXT, class IN, 1 s to live, one string. */
function record(text: string): Buffer {
  const data = Buffer.concat([Buffer.from([text.length]), Buffer.from(text)])
  const head = Buffer.from([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 1, 0, data.length])
  return Buffer.concat([head, data])
}
