/** What `npm start` prints when it is ready. */
export function welcome(url: string, password: string, mailsUrl: string): string {
  const body = shellWord(JSON.stringify({ email: 'customer@example.com', password }))
  return `
Escala is ready: ${url}

  log in as  organiser@example.com or customer@example.com
  password   ${password}
  docs       ${url}/docs
  mails      ${mailsUrl}

Try, in another terminal:
  for i in 1 2 3 4; do curl -s -o /dev/null -D - ${url}/v1/openapi.json | grep -i x-replica; done
  curl -c cookies -H 'content-type: application/json' -d ${body} ${url}/v1/session
  npm run deploy          # replaces every replica while the others serve

Ctrl-C stops everything.`
}

function shellWord(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
