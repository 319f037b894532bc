/** NGINX as tutorials have it: no timeouts, no shared account of the replicas. `location` is added to the one that proxies. */
export function tutorialNginx(listen: string, servers: string[], location: string[] = []): string {
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
    ${servers.map((server) => `server ${server};`).join('\n    ')}
  }
  server {
    listen ${listen};
    location / {
      ${['proxy_pass http://api', ...location].map((directive) => `${directive};`).join('\n      ')}
    }
  }
}
`
}
