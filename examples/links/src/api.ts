import { integer } from '@escala/kit/config/config'
import { apiModule } from '@escala/kit/module'
import { z } from 'zod'
import { createDomainCheck } from './dns.ts'
import { linksOfUser } from './links.ts'
import { noIndex } from './no-index.ts'
import { domainRoutes } from './routes/domains.ts'
import { linkRoutes } from './routes/links.ts'
import { liveRoutes } from './routes/live.ts'
import { qrRouter } from './routes/qr.ts'
import { redirectRoutes } from './routes/redirects.ts'

const serverRule = 'the address of a DNS server, such as 127.0.0.1:5353'

export const linksApi = apiModule({
  name: 'links',
  settings: {
    /** Links that one user may create in a minute, on all replicas together. */
    LINKS_PER_MINUTE: integer(1, 10_000, 30),
    /** Whom to ask about domains. Default: the machine's own DNS servers. */
    LINKS_DNS_SERVER: z
      .string()
      .regex(/^[\d.]+:\d{1,5}$/)
      .optional()
      .describe(serverRule),
  },
  personalData: () => linksOfUser,
  middleware: () => ({ beforeSession: [noIndex] }),
  routers: (parts) => [{ path: '/v1/link-images', access: 'user', router: qrRouter(parts) }],
  routes(parts, settings) {
    return [
      ...linkRoutes(parts, settings.LINKS_PER_MINUTE),
      ...redirectRoutes(parts),
      ...liveRoutes(parts),
      ...domainRoutes(parts, createDomainCheck(settings.LINKS_DNS_SERVER)),
    ]
  },
})
