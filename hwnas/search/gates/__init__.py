"""Search over binary gates: ProxylessNAS by gradients and by REINFORCE."""
