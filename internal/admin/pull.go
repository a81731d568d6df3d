package admin

import "time"

// PullPath is where the origin pull settings of the running process are: GET lists, POST uploads, POST
// PullPath/enabled switches.
const PullPath = "/origin-pulls"

// PullUpload uploads a client certificate for the origins of a zone or a host. Body is the JSON of
// Cloudflare's and IBM CIS's API: certificate and private_key.
type PullUpload struct {
	Zone   string `json:"zone,omitempty"`
	Host   string `json:"host,omitempty"`
	Body   []byte `json:"body"`
	Enable bool   `json:"enable,omitempty"` // at once; else a new setting waits for enable
}

// PullSwitch switches the setting of a zone or a host.
type PullSwitch struct {
	Zone    string `json:"zone,omitempty"`
	Host    string `json:"host,omitempty"`
	Enabled bool   `json:"enabled"`
}

// Pull is one origin pull setting, in the field names of Cloudflare's API. Status is active,
// pending_deployment (written, but no running process serves it), or, beyond Cloudflare's, expired,
// invalid and missing.
type Pull struct {
	ID          string     `json:"id"`
	Zone        string     `json:"zone,omitempty"`
	Hostname    string     `json:"hostname,omitempty"`
	Certificate string     `json:"certificate,omitempty"`
	Subject     string     `json:"subject,omitempty"`
	Issuer      string     `json:"issuer,omitempty"`
	Serial      string     `json:"serial_number,omitempty"`
	Signature   string     `json:"signature,omitempty"`
	Status      string     `json:"status"`
	ExpiresOn   *time.Time `json:"expires_on,omitempty"`
	UploadedOn  *time.Time `json:"uploaded_on,omitempty"`
	Enabled     bool       `json:"enabled"`
	Object      string     `json:"object"` // namespace/name of the OriginPull
	Detail      string     `json:"detail,omitempty"`
}

// PullChanged is what an upload or a switch did. Findings are about the certificate.
type PullChanged struct {
	Pull     Pull     `json:"pull"`
	Files    []string `json:"files"`
	Findings []string `json:"findings,omitempty"` // one line each
}
