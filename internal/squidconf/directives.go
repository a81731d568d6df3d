package squidconf

import (
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
)

// directive converts the words after a directive's name.
type directive func(c *converter, words []string)

// directive finds and runs the row of a line.
func (c *converter) directive(words []string) {
	name := words[0]
	do := c.table[name]
	switch {
	case do == nil && nothing(name) != "":
		c.noEffect("%s", nothing(name))
	case do == nil && closes(name) != "":
		c.refuse(closes(name), "Hakone does not do what %s asks for, and without it more would be let through than Squid lets through", name)
	case do == nil:
		c.refuse("Correct the name; squid -k parse shows whether Squid knows it.", "%s is no directive that is known here", name)
	default:
		do(c, words[1:])
		if c.line.Outcome == "" {
			c.line.Outcome = Honoured
		}
	}
}

// directives is the table of what is converted.
func directives() map[string]directive {
	return map[string]directive{
		"acl": acl, "http_access": httpAccess, "ssl_bump": sslBump, "always_direct": direct("Allow"), "never_direct": direct("Deny"),
		"http_port": port(false), "https_port": port(true),
		"sslproxy_cert_error": certError, "sslproxy_cert_sign": certSign, "sslproxy_cert_adapt": certAdapt, "sslcrtd_program": certProgram,
		"on_unsupported_protocol": unsupportedProtocol, "sslproxy_cert_sign_hash": signHash,
		"tls_outgoing_options": outgoing, "sslproxy_cafile": oldOutgoing("cafile"), "sslproxy_flags": oldOutgoing("flags"), "sslproxy_options": oldOutgoing("options"),
		"sslproxy_cipher": oldOutgoing("cipher"), "sslproxy_client_certificate": oldOutgoing("cert"), "sslproxy_client_key": oldOutgoing("key"),
		"cache_peer": cachePeer, "cache_peer_access": cachePeerAccess,
		"cache": cacheRule, "no_cache": cacheRule, "cache_mem": cacheMemory, "maximum_object_size": objectSize, "maximum_object_size_in_memory": objectSize,
		"cache_dir": cacheDir, "refresh_pattern": refreshPattern, "auth_param": authParam, "authenticate_ttl": authTTL,
		"visible_hostname": visibleHostname, "via": via, "forwarded_for": forwardedFor, "request_header_access": headerAccess, "header_access": headerAccess,
		"access_log": accessLog, "cache_access_log": accessLog, "cache_mgr": contact,
		"connect_timeout": connectTimeout, "request_timeout": timeoutFlag("header-timeout"), "client_idle_pconn_timeout": timeoutFlag("idle-timeout"),
		"pconn_timeout": timeoutFlag("idle-timeout"), "read_timeout": timeoutFlag("upstream-idle-timeout"), "shutdown_lifetime": timeoutFlag("drain-timeout"),
		"request_header_max_size": sizeFlag("max-request-header"), "reply_header_max_size": sizeFlag("max-response-header"), "request_body_max_size": sizeFlag("max-request-body"),
		"tls_key_log": keyLog, "host_verify_strict": hostVerify, "client_dst_passthru": hostVerify,
	}
}

// nothing says why a directive has no effect here, and that this harms nobody; "" for others.
func nothing(name string) string {
	for _, prefix := range []string{"icp_", "htcp_", "snmp_", "wccp", "delay_", "netdb_", "digest_", "cachemgr_", "quick_abort_", "memory_", "minimum_", "dns_", "positive_dns", "negative_dns", "ipcache_", "fqdncache_", "client_persistent", "server_persistent", "logfile_", "debug_", "mime_", "store_", "half_", "sslproxy_session_", "sslcrtd_", "collapsed_", "max_", "pinger_", "peer_", "forward_", "error_", "err_", "email_"} {
		if strings.HasPrefix(name, prefix) {
			return "a matter of how Squid works inside or of its neighbours; there is nothing to set here"
		}
	}
	reasons := map[string]string{
		"coredump_dir": "there are no core dumps", "pid_filename": "the process stays in the foreground", "cache_effective_user": "start Hakone as that user",
		"cache_effective_group": "start Hakone as that user", "workers": "one process uses all processors", "cpu_affinity_map": "one process uses all processors",
		"cache_log": "the operations log goes to stderr", "cache_store_log": "the cache keeps no log of its own", "log_mime_hdrs": "the log holds no fields of messages; the record of a request is in hakone explain",
		"logformat": "formats are json, envoy, istio, squid, squid4, common, combined", "hosts_file": "names are looked up as the system does", "unlinkd_program": "files are removed by the process itself",
		"diskd_program": "there is no such helper", "chroot": "start Hakone in a container", "range_offset_limit": "ranges are asked for as clients ask for them", "negative_ttl": "errors are kept only where they say so",
		"reload_into_ims": "a refresh option: reload-into-ims", "buffered_logs": "logs are always written in blocks", "strip_query_terms": "Squid's formats never hold what is after the question mark; json and the record of a request do",
		"query_icmp": "there are no siblings", "ignore_expect_100": "Expect is understood", "balance_on_multiple_ip": "all addresses of a name are tried", "detect_broken_pconn": "broken connections are noticed",
		"httpd_suppress_version_string": "no version is shown", "unique_hostname": "loops are found by a mark of each process", "hierarchy_stoplist": "obsolete in Squid too", "nonhierarchical_direct": "use never_direct and always_direct",
		"prefer_direct": "use never_direct and always_direct", "offline_mode": "stale answers are used as stale-if-error allows", "tcp_recv_bufsize": "the system's", "incoming_udp_average": "nothing speaks UDP",
		"client_lifetime": "connections end by their idle times", "write_timeout": "see --write-timeout", "announce_period": "nobody is told of this proxy", "ftp_user": "FTP is not spoken", "ftp_passive": "FTP is not spoken",
		"allow_underscore": "underscores are allowed", "check_hostnames": "names are checked", "retry_on_error": "what is certain not to have been done is tried again", "uri_whitespace": "such requests are refused",
		"relaxed_header_parser": "fields are read strictly", "vary_ignore_expire": "Vary and Expires are honoured", "esi_parser": "there is no ESI", "refresh_all_ims": "a refresh option: refresh-ims", "adaptation_send_username": "there is no adaptation",
		"windows_ipaddrchangemonitor": "for Windows alone", "persistent_request_timeout": "see --idle-timeout", "server_idle_pconn_timeout": "connections to destinations are kept for 50 s", "log_uses_indirect_client": "the log has the client's address",
		"test_reachability": "there are no neighbours to test", "ssl_engine": "cryptography is the program's own", "sslpassword_program": "keys are not encrypted", "shared_memory_locking": "there is one process", "cache_swap_low": "the bound is kept always",
		"cache_swap_high": "the bound is kept always", "cache_replacement_policy": "the least recently used goes first", "hopeless_kid_revival_delay": "there is one process", "read_ahead_gap": "bodies are passed on as they come", "eui_lookup": "hardware addresses are not looked at",
		"global_internal_static": "there are no icons", "short_icon_urls": "there are no icons", "icon_directory": "there are no icons", "as_whois_server": "nobody is asked", "wais_relay_host": "WAIS is not spoken", "dead_peer_timeout": "parents are found dead by what they answer",
	}
	return reasons[name]
}

// closes says what to do in the place of a directive without which more would be let through; "" for others.
func closes(name string) string {
	for _, prefix := range []string{"icap_", "adaptation_", "ecap_", "url_rewrite_", "redirect_", "external_acl", "ident_", "reply_body_", "loadable_"} {
		if strings.HasPrefix(name, prefix) {
			return "Keep what it does before or behind Hakone, or say it with acl and http_access."
		}
	}
	switch name {
	case "http_reply_access", "adapted_http_access", "http_access2", "reply_header_access", "reply_header_replace", "request_header_replace", "header_replace", "request_header_add", "reply_header_add", "follow_x_forwarded_for",
		"proxy_protocol_access", "deny_info", "send_hit", "note", "tcp_outgoing_address", "tcp_outgoing_tos", "tcp_outgoing_mark", "clientside_tos", "clientside_mark", "qos_flows", "acl_uses_indirect_client", "sslcrtvalidator_program", "client_delay_access",
		"response_delay_pool", "auth_schemes", "cache_peer_domain", "neighbor_type_domain", "server_pconn_for_nonretriable", "http_upgrade_request_protocols", "miss_access", "spoof_client_ip", "store_id_access", "authenticate_ip_ttl", "acl_external":
		return "Leave the line out if it is not needed, or keep Squid for this."
	}
	return ""
}

// known reports whether rules may ask for an ACL, and notes what is wrong otherwise.
func (c *converter) known(name string) bool {
	name = strings.TrimPrefix(name, "!")
	if c.bad[name] {
		return false
	}
	for _, key := range c.order {
		if strings.HasPrefix(key, name+" ") {
			return true
		}
	}
	return slices.Contains([]string{"all", "localhost", "to_localhost", "to_linklocal", "manager", "CONNECT"}, name)
}

// rule reads "allow|deny acl ...". An allowing rule that asks for an ACL that is not there is left out; a denying
// one is kept without it, so that it denies more.
func (c *converter) rule(words []string) (v1alpha1.AccessRule, bool) {
	if len(words) == 0 {
		c.refuse("Write allow or deny and ACLs.", "the line has no action")
		return v1alpha1.AccessRule{}, false
	}
	action := map[string]string{"allow": "Allow", "deny": "Deny"}[words[0]]
	if action == "" {
		c.refuse("Write allow or deny.", "%q is neither allow nor deny", words[0])
		return v1alpha1.AccessRule{}, false
	}
	acls, missing := c.asks(words[1:])
	if len(missing) > 0 {
		c.refuse("Define the ACL, or leave the line out.", "it asks for %s, which cannot be asked here", strings.Join(missing, ", "))
		if action == "Allow" {
			c.note("the rule is left out")
			return v1alpha1.AccessRule{}, false
		}
		c.note("the rule denies without asking for that")
	}
	return v1alpha1.AccessRule{Action: action, ACLs: acls}, true
}

// asks returns the ACLs of a rule, and those that cannot be asked.
func (c *converter) asks(words []string) (acls, missing []string) {
	for _, w := range words {
		if c.known(w) {
			acls = append(acls, w)
		} else {
			missing = append(missing, w)
		}
	}
	return acls, missing
}
