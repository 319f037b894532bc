import { Resolver } from 'node:dns/promises'

/** Whether the domain has the TXT record `escala-links=<user id>`. Rejects when DNS gives no response. */
export type DomainCheck = (host: string, userId: string) => Promise<boolean>

/** At most three tries of 1 s, well within a request's deadline. */
export function createDomainCheck(server: string | undefined): DomainCheck {
  return async (host, userId) => {
    const resolver = new Resolver({ timeout: 1000, tries: 3 }) // one for each question: `cancel` would end all of its questions
    if (server !== undefined) resolver.setServers([server])
    try {
      const records = await resolver.resolveTxt(host)
      return records.some((parts) => parts.join('') === `escala-links=${userId}`)
    } catch (error) {
      if (['ENOTFOUND', 'ENODATA'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
      throw error
    }
  }
}
