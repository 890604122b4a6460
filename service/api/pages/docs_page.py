"""The page at /docs: Swagger UI, with short lists of problems.

Knows HTML, and the parts of Swagger UI that it replaces. Knows nothing of requests.

Swagger UI shows each response of a path with its headers and an example, however many there are: the problems
of one path took 9,000 pixels. Their bodies all have one form, so here they are one line, which opens into a
table of codes, meanings and remedies.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

#: Swagger UI passes the responses of a path as an ordered map of Immutable.js, by status.
_SCRIPT: Final = """
const shortProblems = () => ({wrapComponents: {responses: (Original, system) => (props) => {
  const element = system.React.createElement;
  const isProblem = (_, status) => /^[45]/.test(status);
  const problems = props.responses.filter(isProblem);
  const others = props.responses.filterNot(isProblem);
  if (!problems.size || !others.size) return element(Original, props);
  const answered = props.tryItOutResponse ? String(props.tryItOutResponse.get('status')) : '';
  const Markdown = system.getComponent('Markdown', true);
  const row = ([status, response]) => element('tr',
    {key: status, className: status === answered ? 'response response_current' : 'response'},
    element('td', {className: 'response-col_status'}, status),
    element('td', {className: 'response-col_description'},
      element(Markdown, {source: response.get('description')})));
  return element('div', null,
    element(Original, {...props, responses: others}),
    element('details', {className: 'problems', open: problems.has(answered)},
      element('summary', null, 'Problems: ' + problems.keySeq().join(', ')),
      element('table', {className: 'responses-table'},
        element('tbody', null, problems.entrySeq().map(row).toArray()))));
}}});
SwaggerUIBundle({url:'openapi.json',dom_id:'#swagger-ui',deepLinking:true,validatorUrl:null,
  presets:[SwaggerUIBundle.presets.apis],plugins:[shortProblems],layout:'BaseLayout',
  displayRequestDuration:true,defaultModelsExpandDepth:0});
"""
_STYLE: Final = """
.swagger-ui .response-col_links { display: none }
.swagger-ui details.problems { padding: 0 20px 20px }
.swagger-ui details.problems summary { cursor: pointer; font-size: 14px; font-weight: 700 }
.swagger-ui details.problems .markdown p { margin: 0 0 8px }
"""
PAGE: Final = f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vae-service</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>{_SCRIPT}</script>
</body>
</html>
"""
_SCRIPT_HASH: Final = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
#: Scripts from here only, the inline one by its digest; the interface sets styles inline and draws its icons
#: from data: addresses; requests and everything else go only to this server.
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"script-src 'self' 'sha256-{_SCRIPT_HASH}'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
