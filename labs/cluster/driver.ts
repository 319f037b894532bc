/** How the servers and replicas of labs and tests run: as containers, or as processes of this machine. */
export type Driver = 'docker' | 'local'

const answerWithinMs = 3000

/** `LABS` decides when it is set; else containers are taken where a Docker engine answers. */
export async function chooseDriver(wish: string | undefined): Promise<Driver> {
  if (wish === 'docker' || wish === 'local') return wish
  if (wish) throw new Error(`LABS must be docker or local, not ${wish}`)
  return (await dockerAnswers()) ? 'docker' : 'local'
}

async function dockerAnswers(): Promise<boolean> {
  const { default: Docker } = await import('dockerode')
  return new Docker({ timeout: answerWithinMs }).ping().then(
    () => true,
    () => false,
  )
}
