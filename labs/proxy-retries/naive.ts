/** A configuration as tutorials have it, with the retries that make failed requests rare. */
export function naiveConf(listen: string, replicas: string[]): string {
  return `
pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path tmp_body;
  proxy_temp_path tmp_proxy;
  fastcgi_temp_path tmp_fastcgi;
  uwsgi_temp_path tmp_uwsgi;
  scgi_temp_path tmp_scgi;
  upstream api {
    ${replicas.map((replica) => `server ${replica} max_fails=0;`).join('\n    ')}
  }
  server {
    listen ${listen};
    location / {
      proxy_pass http://api;
      proxy_read_timeout 300ms;
      proxy_next_upstream error timeout non_idempotent;
    }
  }
}
`
}
