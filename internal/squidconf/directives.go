package squidconf

import (
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// directive converts the words after a directive's name.
type directive func(c *converter, words []string)

// directive finds and runs the row of a line.
func (c *converter) directive(st *statement) {
	name, words := st.words[0], st.words[1:]
	if name == "refresh_pattern" {
		words, _ = split(st.text, false, true)
		words = words[1:]
	} else if st.quoted {
		expanded, ok := c.values(words)
		if !ok {
			c.closes = true
			return
		}
		words = expanded
	}
	do, known := c.table[name]
	if !known {
		c.refuse("Correct the name, or remove the line; squid -k parse shows whether Squid knows it.", "%s is no directive of Squid 4, 5 or 6", name)
		return
	}
	do(c, words)
	if c.line.Outcome == "" {
		c.refuse("Correct the line; squid -k parse shows the same.", "%s cannot be read", strings.Join(words, " "))
		c.line.Code = diag.ImportSyntax
	}
}

// directives is the table of all directives.
func directives() map[string]directive {
	out := map[string]directive{
		"http_access": httpAccess, "ssl_bump": sslBump, "always_direct": alwaysDirect, "never_direct": neverDirect,
		"http_port": port(false), "https_port": port(true),
		"sslproxy_cert_error": certError, "sslproxy_cert_sign": certSign, "sslproxy_cert_adapt": certAdapt, "sslcrtd_program": certProgram,
		"on_unsupported_protocol": unsupportedProtocol, "sslproxy_cert_sign_hash": signHash,
		"tls_outgoing_options": outgoing, "sslproxy_cafile": oldOutgoing("cafile"), "sslproxy_capath": oldOutgoing("capath"), "sslproxy_flags": oldOutgoing("flags"), "sslproxy_options": oldOutgoing("options"),
		"sslproxy_cipher": oldOutgoing("cipher"), "sslproxy_client_certificate": oldOutgoing("cert"), "sslproxy_client_key": oldOutgoing("key"),
		"cache_peer": cachePeer, "cache_peer_access": cachePeerAccess,
		"cache": cacheRule, "no_cache": cacheRule, "cache_mem": cacheMemory, "maximum_object_size": objectSize, "maximum_object_size_in_memory": objectSize,
		"cache_dir": cacheDir, "refresh_pattern": refreshPattern, "auth_param": authParam,
		"visible_hostname": visibleHostname, "via": via, "forwarded_for": forwardedFor, "request_header_access": headerAccess, "header_access": headerAccess,
		"access_log": accessLog, "cache_access_log": accessLog, "logformat": logFormat, "cache_mgr": contact,
		"connect_timeout": connectTimeout, "request_timeout": timeoutFlag("header-timeout"), "client_idle_pconn_timeout": timeoutFlag("idle-timeout"),
		"persistent_request_timeout": timeoutFlag("idle-timeout"), "read_timeout": timeoutFlag("upstream-idle-timeout"), "shutdown_lifetime": timeoutFlag("drain-timeout"),
		"request_header_max_size": sizeFlag("max-request-header"), "reply_header_max_size": sizeFlag("max-response-header"), "request_body_max_size": sizeFlag("max-request-body"),
		"miss_access": unlessAll("allow"), "http_reply_access": unlessAll("allow"), "adapted_http_access": unlessAll("allow"), "http_access2": unlessAll("allow"),
		"follow_x_forwarded_for": unlessAll("deny"), "proxy_protocol_access": proxyHeaderAccess,
		"url_rewrite_program": unlessOff("none"), "redirect_program": unlessOff("none"), "icap_enable": unlessOff("off"), "ecap_enable": unlessOff("off"),
		"loadable_modules": unlessOff("none"), "sslcrtvalidator_program": unlessOff("none"), "append_domain": unlessOff("none"), "hosts_file": hostsFile, "reply_body_max_size": replySize,
	}
	for _, group := range noEffects() {
		for name := range strings.FieldsSeq(group.names) {
			out[name] = without(group.reason)
		}
	}
	for _, group := range impossible() {
		for name := range strings.FieldsSeq(group.names) {
			out[name] = cannot(group.reason)
		}
	}
	return out
}

// group are directives with one reason.
type group struct{ reason, names string }

func without(reason string) directive {
	return func(c *converter, _ []string) { c.noEffect("%s", reason) }
}

// cannot refuses lines that nothing here does, though without them no more is let through. Lines that switch
// something off have no effect.
func cannot(reason string) directive {
	return func(c *converter, words []string) {
		if len(words) == 1 && (words[0] == "none" || words[0] == "off") || isAll(words, "deny") {
			c.noEffect("%s", reason)
			return
		}
		c.refuse("Leave the line out if it is not needed, or keep Squid for this.", "%s", reason)
	}
}

// unlessAll has no effect for one list of rules, which is that of none, and closes for others.
func unlessAll(action string) directive {
	return func(c *converter, words []string) {
		if isAll(words, action) {
			c.noEffect("it is so")
			return
		}
		c.refuseClosing("Say it with acl and http_access, which are asked before a request is sent, or keep Squid for this; then remove the first rule.",
			"such rules are not asked here, and without them more would be let through")
	}
}

// unlessOff closes unless the line switches something off.
func unlessOff(off string) directive {
	return func(c *converter, words []string) {
		if len(words) == 1 && words[0] == off {
			c.noEffect("it is so")
			return
		}
		c.refuseClosing("Keep what it does before or behind Hakone, or say it with acl and http_access; then remove the first rule.", "there is nothing of the kind here, and without it more would be let through")
	}
}

// proxyHeaderAccess reads who may send a PROXY header: here, whoever reaches the port.
func proxyHeaderAccess(c *converter, words []string) {
	switch {
	case isAll(words, "deny"):
		c.noEffect("ports that demand the header take it of all, others of nobody")
	case isAll(words, "allow"):
		c.honour("spec.listeners.proxyProtocol")
	default:
		c.refuseClosing("Let nobody but the load balancer reach the port (a NetworkPolicy, a firewall); then remove the first rule.", "a port that demands a PROXY header believes that of all who reach it")
	}
}

func hostsFile(c *converter, words []string) {
	if len(words) == 1 && words[0] == "/etc/hosts" {
		c.noEffect("it is so")
		return
	}
	c.refuse("Write the names into the hosts file of the host or pod.", "names are looked up as the system does")
}

// replySize reads "reply_body_max_size SIZE [UNIT] acl...".
func replySize(c *converter, words []string) {
	if len(words) > 0 {
		if n, err := strconv.ParseInt(words[0], 10, 64); words[0] == "none" || err == nil && n <= 0 {
			c.noEffect("it is so")
			return
		}
	}
	c.refuseClosing("Leave the line out if it is not needed; then remove the first rule.", "answers have no bound here")
}

// noEffects are the directives that have no effect here, by why this harms nobody.
func noEffects() []group {
	return []group{
		{"other caches are not asked, and do not ask here (ICP, HTCP, digests, multicast, WCCP)",
			"icp_port icp_access icp_hit_stale icp_query_timeout log_icp_queries htcp_port htcp_access htcp_clr_access maximum_icp_query_timeout minimum_icp_query_timeout mcast_groups mcast_icp_query_timeout mcast_miss_addr mcast_miss_encode_key mcast_miss_port mcast_miss_ttl udp_incoming_address udp_outgoing_address wccp_router wccp_version wccp_address wccp2_router wccp2_address wccp2_forwarding_method wccp2_return_method wccp2_assignment_method wccp2_service wccp2_service_info wccp2_weight wccp2_rebuild_wait digest_generation digest_bits_per_entry digest_rebuild_period digest_rebuild_chunk_percentage digest_rewrite_period digest_swapout_chunk_size neighbor_type_domain background_ping_rate query_icmp test_reachability netdb_filename netdb_high netdb_low netdb_ping_period pinger_enable pinger_program minimum_direct_hops minimum_direct_rtt as_whois_server zph_local zph_mode zph_option zph_parent zph_sibling"},
		{"there is no SNMP; metrics are at /metrics of the admin port",
			"snmp_port snmp_access snmp_incoming_address snmp_outgoing_address"},
		{"there is no cache manager; hakone cache and the admin port show the same",
			"cachemgr_passwd"},
		{"bandwidth is not shared out",
			"delay_pools delay_class delay_access delay_parameters delay_initial_bucket_level delay_pool_uses_indirect_client client_delay_pools client_delay_parameters client_delay_access client_delay_initial_bucket_level response_delay_pool response_delay_pool_access"},
		{"how memory, files and processes are used is not set: one process uses all processors",
			"memory_pools memory_pools_limit memory_cache_mode memory_cache_shared shared_memory_locking shared_transient_entries_limit collapsed_forwarding_shared_entries_limit memory_replacement_policy cache_replacement_policy cache_swap_low cache_swap_high cache_swap_log cache_swap_state store_avg_object_size store_objects_per_bucket store_dir_select_algorithm max_open_disk_fds max_filedescriptors max_filedesc workers cpu_affinity_map hopeless_kid_revival_delay read_ahead_gap tcp_recv_bufsize incoming_rate incoming_udp_average incoming_tcp_average incoming_dns_average incoming_icp_average incoming_http_average min_udp_poll_cnt min_tcp_poll_cnt min_dns_poll_cnt min_icp_poll_cnt min_http_poll_cnt accept_filter unlinkd_program diskd_program sleep_after_fork windows_ipaddrchangemonitor high_memory_warning high_page_fault_warning high_response_time_warning client_db stats_collection request_entities paranoid_hit_validation"},
		{"how the process is started is its own matter: it stays in the foreground, as the user that starts it",
			"coredump_dir pid_filename cache_effective_user cache_effective_group chroot umask mail_from mail_program"},
		{"the operations log goes to stderr, and its words are told by --log-level",
			"cache_log debug_options cache_log_message cache_store_log"},
		{"logs are written by the process itself, in blocks, and opened anew on SIGHUP or by size",
			"logfile_rotate logfile_daemon buffered_logs log_mime_hdrs log_fqdn log_ip_on_direct strip_query_terms emulate_httpd_log useragent_log referer_log referrer_log forward_log log_access log_icap icap_log client_netmask"},
		{"names are looked up as the system does",
			"dns_children dns_defnames dns_retransmit_interval dns_timeout dns_packet_max dns_multicast_local dns_testnames dns_v4_first dns_v4_fallback positive_dns_ttl negative_dns_ttl ipcache_size ipcache_high ipcache_low fqdncache_size cache_dns_program ignore_unknown_nameservers check_hostnames allow_underscore"},
		{"connections to destinations are kept, tried again and raced without settings",
			"server_persistent_connections client_persistent_connections persistent_connection_after_error server_idle_pconn_timeout pconn_timeout pconn_lifetime half_closed_clients detect_broken_pconn balance_on_multiple_ip pipeline_prefetch connect_retries retry_on_error forward_max_tries maximum_single_addr_tries forward_timeout peer_connect_timeout dead_peer_timeout happy_eyeballs_connect_timeout happy_eyeballs_connect_gap happy_eyeballs_connect_limit server_pconn_for_nonretriable client_lifetime write_timeout request_start_timeout eui_lookup prefer_direct nonhierarchical_direct hierarchy_stoplist"},
		{"the cache follows RFC 9111; what it adds is in spec.cache",
			"minimum_object_size negative_ttl minimum_expiry_time range_offset_limit quick_abort_min quick_abort_max quick_abort_pct collapsed_forwarding collapsed_forwarding_access refresh_all_ims reload_into_ims refresh_stale_hit max_stale cache_miss_revalidate ignore_ims_on_miss update_headers vary_ignore_expire offline_mode esi_parser ie_refresh cache_vary broken_vary_encoding external_refresh_check store_id_program store_id_access store_id_bypass store_id_children store_id_extras storeurl_rewrite_program storeurl_rewrite_access storeurl_rewrite_children storeurl_rewrite_concurrency storeurl_rewrite_bypass httpd_accel_surrogate_id http_accel_surrogate_remote"},
		{"HTTP is read strictly, and Expect, chunks and Upgrade are understood",
			"relaxed_header_parser ignore_expect_100 force_request_body_continuation broken_posts server_http11 upgrade_http0.9 chunked_request_body_max_size client_request_buffer_max_size uri_whitespace extension_methods http_upgrade_request_protocols httpd_accel_no_pmtu_disc"},
		{"pages are Hakone's, with code, reason and what helps; spec.pages.html replaces them",
			"error_directory error_default_language error_log_languages err_page_stylesheet err_html_text email_err_data deny_info error_map httpd_suppress_version_string icon_directory short_icon_urls global_internal_static mime_table"},
		{"loops are found by Via and by a mark of each process",
			"unique_hostname hostname_aliases"},
		{"nobody is told of this proxy",
			"announce_period announce_host announce_file announce_port"},
		{"FTP, gopher and WAIS are not spoken",
			"ftp_user ftp_list_width ftp_passive ftp_epsv ftp_epsv_all ftp_eprt ftp_sanitycheck ftp_telnet_protocol ftp_client_idle_timeout wais_relay_host wais_relay_port"},
		{"it belongs to a helper or service that is refused where it is switched on",
			"url_rewrite_access url_rewrite_children url_rewrite_concurrency url_rewrite_bypass url_rewrite_extras url_rewrite_host_header url_rewrite_timeout redirect_children redirect_concurrency redirector_access redirector_bypass redirect_rewrites_host_header location_rewrite_children location_rewrite_concurrency location_rewrite_access location_rewrite_bypass location_rewrite_extras icap_service icap_class icap_access icap_206_enable icap_client_username_encode icap_client_username_header icap_connect_timeout icap_default_options_ttl icap_io_timeout icap_persistent_connections icap_preview_enable icap_preview_size icap_retry icap_retry_limit icap_send_client_ip icap_send_client_username icap_service_failure_limit icap_service_revival_delay icap_uses_indirect_client ecap_service adaptation_access adaptation_masterx_shared_names adaptation_meta adaptation_send_client_ip adaptation_send_username adaptation_service_chain adaptation_service_iteration_limit adaptation_service_set adaptation_uses_indirect_client sslcrtvalidator_children ident_lookup_access ident_timeout"},
		{"it says how addresses are taken of follow_x_forwarded_for, which is refused where it allows something",
			"acl_uses_indirect_client log_uses_indirect_client tproxy_uses_indirect_client"},
		{"certificates are made by the process itself, and sessions are resumed by tickets",
			"sslcrtd_children sslproxy_session_cache_size sslproxy_session_ttl ssl_engine ssl_unclean_shutdown sslpassword_program"},
		{"keys of connections are never written",
			"tls_key_log"},
		{"a request inside a tunnel for a host that the destination's certificate does not cover is always refused",
			"host_verify_strict client_dst_passthru"},
		{"a verified password is kept as auth_param basic credentialsttl says",
			"authenticate_ttl authenticate_ip_ttl authenticate_cache_garbage_interval"},
		{"records hold what is known of a request anyway",
			"note"},
		{"obsolete: Squid itself does nothing about it",
			"zero_buffers"},
	}
}

// impossible are the directives that are refused, by why.
func impossible() []group {
	return []group{
		{"ACLs of external helpers cannot be asked here: rules that ask them close",
			"external_acl_type auth_schemes authenticate_program authenticate_children authenticate_cache"},
		{"fields are removed from requests alone, for all clients",
			"reply_header_access reply_header_replace reply_header_add request_header_add request_header_replace header_replace location_rewrite_program"},
		{"connections leave from the address that the system chooses, without marks",
			"tcp_outgoing_address tcp_outgoing_tos tcp_outgoing_dscp tcp_outgoing_ds tcp_outgoing_mark clientside_tos clientside_dscp clientside_ds clientside_mark mark_client_packet mark_client_connection qos_flows spoof_client_ip"},
		{"names are looked up as the system does; write the servers into resolv.conf and the names into the hosts file of the host or pod",
			"dns_nameservers"},
		{"the connections of one address are bounded for all listeners with hakone run --max-connections-per-address, or by an acl of type maxconn",
			"client_ip_max_connections"},
		{"clients that speak FTP are not served",
			"ftp_port"},
		{"which answers are kept and given is decided before there is an answer, by cache",
			"store_miss send_hit"},
		{"intermediate certificates that a destination forgets to send are not supplied",
			"sslproxy_foreign_intermediate_certs"},
		{"TLS versions towards destinations are set with tls_outgoing_options",
			"sslproxy_version"},
		{"the parents' rules are said with cache_peer_access",
			"cache_peer_domain"},
		{"a port that is a server's own is no forward proxy's; use an EdgeHost or a Gateway",
			"httpd_accel_host httpd_accel_port httpd_accel_with_proxy httpd_accel_uses_host_header httpd_accel_single_host"},
	}
}
